package data

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Ask is DRBD's question whether the other head may still write to its copy of a resource. It waits for the word until ctx
// ends, or until it is not asked for any more: the copies see one another again, or this one is not to be written to. The
// answer is an exit code for DRBD's handler, and the reason for it.
//
// Only a word counts that was given after the question came in, with evidence from after it: DRBD asks when the other copy
// is lost, and a daemon that stood still meanwhile may have an old word. Nor does anything count that the kernel has not said
// yet to a daemon that has just started, and that the copies are connected counts only if the kernel says so to one who asks: the
// events may come later than the question. After a plain no DRBD does not ask again for this loss, and writes would wait for ever.
func (s *Set) Ask(ctx context.Context, resource string) (code int, why string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.kernels(resource)
	if v == nil {
		return ExitUnknown, "", fmt.Errorf("data: there is no volume %q", resource)
	}
	asked := s.cfg.Now()
	v.look.Lost = max(v.look.Lost, asked)
	wasPrimary := false
	v.asking++
	defer func() { v.asking-- }()
	s.tell()
	for {
		wasPrimary = wasPrimary || s.ready && v.look.Copy.Role == primary
		switch {
		case s.ended: // the next one knows
			return ExitUnknown, "", fmt.Errorf("data %s: %w", v.Name, ErrEnded)
		case s.lost >= asked && Answer(s.view.Word) != ExitUnknown:
			return Answer(s.view.Word), s.view.Word.How, nil
		case !s.ready:
		case v.look.Copy.Together():
			signal := s.signal
			if s.togetherNow(ctx, v.Name) {
				return ExitUnknown, "the copies are connected again", nil
			}
			if s.signal != signal {
				continue
			}
		case wasPrimary && v.look.Copy.Role == secondary:
			return ExitUnknown, "the copy is not written to any more", nil
		case !wasPrimary && v.look.Want != WantPrimary:
			return ExitUnknown, "the copy is not to be written to", nil
		}
		if err := s.wait(ctx); err != nil {
			return ExitUnknown, "no word: " + s.view.Word.How, nil
		}
	}
}

// togetherNow asks the kernel whether the two copies are together. What cannot be asked is not. The caller holds mu, also
// afterwards, and it blocks.
func (s *Set) togetherNow(ctx context.Context, resource string) bool {
	s.mu.Unlock()
	defer s.mu.Lock()
	out, err := s.cfg.Tools.Run(ctx, s.node(), "drbdsetup", "events2", "--now", resource)
	if err != nil {
		return false
	}
	var c Copy
	err = readEvents(strings.NewReader(out), c.Apply)
	return err == nil && c.Together()
}

// wait waits for a change. The caller holds mu, also afterwards.
func (s *Set) wait(ctx context.Context) error {
	signal := s.signal
	s.mu.Unlock()
	defer s.mu.Lock()
	select {
	case <-signal:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// named is a volume of the configuration; nil: it has none of that name. The caller holds mu.
func (s *Set) named(name string) *volume { return byName(s.volumes, name) }

func byName(volumes []*volume, name string) *volume {
	if i := slices.IndexFunc(volumes, func(v *volume) bool { return v.Name == name }); i >= 0 {
		return volumes[i]
	}
	return nil
}

// kernels is what the kernel calls resource: by its name, or by the number of its device (drbd_khelper() of
// drivers/block/drbd/drbd_nl.c). The caller holds mu.
func (s *Set) kernels(resource string) *volume {
	number, ok := strings.CutPrefix(resource, "minor-")
	if !ok {
		return s.any(resource)
	}
	minor, err := strconv.Atoi(number)
	if err != nil {
		return nil
	}
	if name := s.minors[minor]; name != "" {
		return s.any(name)
	}
	for _, v := range slices.Concat(s.left, s.volumes) {
		if v.minor == minor {
			return v
		}
	}
	return nil
}

// Tell takes what DRBD's handlers are called for beside fence-peer: split-brain, before-resync-target, ….
// DRBD waits for it to return.
func (s *Set) Tell(ctx context.Context, handler, resource string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.kernels(resource)
	if v == nil {
		return fmt.Errorf("data: there is no volume %q", resource)
	}
	if slices.Contains(s.left, v) { // nothing of it is kept any more
		return nil
	}
	switch handler {
	case "before-resync-target":
		if v.snapshotsBy() == LVM {
			s.mu.Unlock()
			defer s.mu.Lock()
			thin{s, v}.beforeResync(ctx)
			return nil
		}
	case "split-brain", "initial-split-brain":
		before := v.look
		v.look = before.Found(s.cfg.Now())
		if !before.Note.Diverged {
			s.writeNote(v)
			s.cfg.Event("data "+v.Name+": both copies were written to by themselves (`masthead data show-divergence`)", true)
		}
	case "before-resync-source":
		if v.snapshotsBy() == Btrfs { // which the resync copies too
			notify(v.resync)
		}
	case "local-io-error", "pri-on-incon-degr", "pri-lost", "pri-lost-after-sb":
		s.cfg.Event("data "+v.Name+": DRBD says "+handler, true)
	}
	s.tell()
	return nil
}
