package data

import (
	"context"
	"fmt"
)

// Ask is DRBD's question whether the other head may still write to its copy of a resource. It waits for the word until ctx
// ends, or until it is not asked for any more: the copies see one another again, or this one is not to be written to. The
// answer is an exit code for DRBD's handler, and the reason for it.
//
// Only a word counts that was given after the question came in, with evidence from after it: DRBD asks when the other copy
// is lost, and a daemon that stood still meanwhile may have an old word.
func (s *Set) Ask(ctx context.Context, resource string) (code int, why string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.any(resource)
	if v == nil {
		return ExitUnknown, "", fmt.Errorf("data: there is no volume %q", resource)
	}
	asked := s.cfg.Now()
	v.look.Lost = max(v.look.Lost, asked)
	wasPrimary := v.look.Copy.Role == primary
	s.tell()
	for {
		switch {
		case s.lost >= asked && Answer(s.view.Word) != ExitUnknown:
			return Answer(s.view.Word), s.view.Word.How, nil
		case v.look.Copy.Connected() && v.look.Copy.Replication != "Off":
			return ExitUnknown, "the copies are connected again", nil
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

func (s *Set) named(name string) *volume {
	for _, v := range s.volumes {
		if v.Name == name || name == fmt.Sprintf("minor-%d", v.minor) {
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
	v := s.named(resource)
	if v == nil {
		return fmt.Errorf("data: there is no volume %q", resource)
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
		if !v.look.Note.Diverged {
			v.look.Note.Diverged = true
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
