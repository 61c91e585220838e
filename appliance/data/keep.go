package data

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"masthead/appliance/failover"
)

const (
	// keepEvery is how often a copy is looked at though nothing was said of it.
	keepEvery = time.Second
	// stepAgain is the pause after a step that failed.
	stepAgain = time.Second
	// promoteAgain is that of a promotion: somebody waits for it.
	promoteAgain = 200 * time.Millisecond
)

// keep does what is to be done to one copy, one step after another, until ctx ends.
func (s *Set) keep(ctx context.Context, v *volume) {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		pause := s.turn(ctx, v)
		if pause == 0 {
			continue
		}
		late := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-v.poke:
		case <-tick.C:
			s.measure(ctx, v)
		case <-late.C:
		}
		late.Stop()
	}
}

// turn does one step, and says how long nothing is to be done after it; 0: look again.
func (s *Set) turn(ctx context.Context, v *volume) time.Duration {
	s.mu.Lock()
	if !s.ready {
		s.mu.Unlock()
		return keepEvery
	}
	step, why := v.look.Next(s.view)
	if l := s.inTheWay(v); l != nil && !v.look.Copy.There {
		step, why = Wait, "the kernel still has the volume "+l.Name+", which is not in the configuration any more: "+cmp.Or(l.trouble, l.why, "it is let go of")
	}
	if (step == Wait || step == Connect) && v.force && v.look.Want == WantPrimary && v.look.Meta == MetaNew && v.look.Copy.Disk == inconsistent && !v.look.Copy.Connected() {
		step, why = Create, "a person says so"
	}
	again := stepAgain
	if step == Promote || step == Force {
		again = promoteAgain
	}
	if step == v.step && v.failed >= 0 && s.cfg.Now()-v.failed < again {
		s.mu.Unlock()
		return again
	}
	if (v.did.step == step || step == Connect) && s.cfg.Now()-v.did.at < settleTime || step == Down && s.cfg.Now()-v.half < halfTime {
		s.mu.Unlock()
		return settleTime // what was done shows in the events in a moment
	}
	if v.step != step || v.why != why {
		v.step, v.why = step, why
		s.tell()
	}
	v.busy = step != Wait
	s.mu.Unlock()
	if step == Wait {
		return keepEvery
	}
	err := s.perform(ctx, v, step)
	s.mu.Lock()
	defer s.mu.Unlock()
	v.busy = false
	s.tell()
	if ctx.Err() != nil {
		return keepEvery
	}
	text := ""
	v.failed = -1
	v.did = deed{step, s.cfg.Now()}
	if err != nil {
		text, v.failed = withTry(err), s.cfg.Now()
	}
	if text != v.trouble {
		v.trouble = text
		if text != "" {
			s.cfg.Event("data "+v.Name+": "+text, true)
		}
		s.tell()
	}
	if err != nil {
		return again
	}
	return 0
}

// halfTime is how long a copy may be without a device before it is given to the kernel once more: that is done in steps, and the
// program of a daemon that was killed may still be at it.
const halfTime = 5 * time.Second

// settleTime is how long the events of a step that succeeded are waited for, before it is done again.
const settleTime = time.Second

// deed is a step that was done.
type deed struct {
	step Step
	at   failover.Instant
}

// perform does one step.
func (s *Set) perform(ctx context.Context, v *volume, step Step) error {
	switch step {
	case Inspect:
		return s.inspect(ctx, v)
	case CreateMeta:
		if err := s.lay(ctx, v); err != nil {
			return err
		}
		if err := s.adm(ctx, "create-md", v.Name, "--force"); err != nil {
			return err
		}
		return s.inspect(ctx, v)
	case Up:
		return s.up(ctx, v)
	case Down:
		return s.down(ctx, v)
	case Tune:
		if err := s.adm(ctx, "disk-options", v.Name, s.cfg.diskOptions(v.Volume)...); err != nil {
			return err
		}
		s.tuned(v)
		return nil
	case Attach:
		return s.adm(ctx, "attach", v.Name)
	case Connect:
		return s.adm(ctx, "connect", v.Name)
	case Disconnect:
		return s.adm(ctx, "disconnect", v.Name, "--force")
	case Promote:
		return s.adm(ctx, "primary", v.Name)
	case Create:
		if err := s.adm(ctx, "primary", v.Name, "--force"); err != nil {
			return err
		}
		s.mu.Lock()
		v.look.Meta, v.force = MetaThere, false
		s.mu.Unlock()
		s.cfg.Event("data "+v.Name+": the volume is new, and this head's copy is what it begins with", false)
		return nil
	case Force:
		if err := s.adm(ctx, "primary", v.Name, "--force"); err != nil {
			return err
		}
		s.cfg.Event("data "+v.Name+": this copy was not up to date and is written to, on a person's word: what it lacks is lost", true)
		return nil
	case Demote:
		return s.adm(ctx, "secondary", v.Name)
	case Outdate:
		return s.adm(ctx, "outdate", v.Name)
	case GoBack:
		return s.goBack(ctx, v)
	}
	return fmt.Errorf("data: nobody knows how to %s", step)
}

// up gives a copy to the kernel, and connects it where there is another one.
func (s *Set) up(ctx context.Context, v *volume) error {
	s.mu.Lock()
	other := s.minors[v.minor]
	s.mu.Unlock()
	if other != "" && other != v.Name { // half of it would be there then, without a device
		return refuse(fmt.Sprintf("on %s: drbdsetup status %s; if nobody uses it, drbdsetup down %[2]s; or another `number:` for %s", s.cfg.Self, other, v.Name),
			"%s belongs to the DRBD resource %s, which the configuration does not have", device(v.minor), other)
	}
	verbs := []string{"up"}
	if len(s.cfg.Hosts) == 1 { // then `up` wants to connect to nobody, and fails
		verbs = []string{"new-resource", "new-minor", "attach"}
	}
	for _, verb := range verbs {
		if err := s.adm(ctx, verb, v.Name); err != nil {
			return err
		}
	}
	s.tuned(v)
	return nil
}

// down takes a copy that nobody uses from the kernel.
func (s *Set) down(ctx context.Context, v *volume) error {
	leaves := func(is bool) {
		s.mu.Lock()
		v.leaves = is
		s.mu.Unlock()
	}
	leaves(true)
	err := s.adm(ctx, "down", v.Name)
	if err != nil {
		leaves(false)
		return err
	}
	s.await(ctx, v, func(c Copy) bool { return !c.There })
	return nil
}

func (s *Set) tuned(v *volume) {
	s.mu.Lock()
	v.look.Tuned = true
	s.mu.Unlock()
}

// adm runs drbdadm. The node's name is given, so that the host name does not matter.
func (s *Set) adm(ctx context.Context, verb, resource string, flags ...string) error {
	return s.admBy(ctx, s.conf(), verb, resource, flags...)
}

// admBy is adm with a configuration file of its own.
func (s *Set) admBy(ctx context.Context, conf, verb, resource string, flags ...string) error {
	argv := append([]string{"drbdadm", "-c", conf, verb}, flags...)
	_, err := s.cfg.Tools.Run(ctx, s.node(), append(argv, resource)...)
	return err
}

func (s *Set) node() []string { return []string{"__DRBD_NODE__=" + s.cfg.Self} }

// inspect finds out what is on the device of a copy.
func (s *Set) inspect(ctx context.Context, v *volume) error {
	meta, uuid, err := s.beneath(ctx, v)
	if err == nil && meta == MetaThere {
		meta, uuid, err = s.meta(ctx, v)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && (v.look.Meta != meta || v.uuid != uuid) {
		v.look.Meta, v.uuid = meta, uuid
		s.tell()
	}
	return err
}

// newData is the generation of a copy that nothing was ever written to (UUID_JUST_CREATED of the kernel's drbd.h).
const newData = "0000000000000004"

func (s *Set) meta(ctx context.Context, v *volume) (Meta, string, error) {
	out, err := s.cfg.Tools.Run(ctx, s.node(), "drbdadm", "-c", s.conf(), "get-gi", v.Name)
	if err == nil {
		current := generation(out)
		switch {
		case current == "":
			return MetaUnknown, "", fmt.Errorf("drbdadm get-gi %s: %q names no generation", v.Name, lastLines(out))
		case current == newData:
			return MetaNew, "", nil
		}
		return MetaThere, current, nil
	}
	var none *missing
	if errors.As(err, &none) {
		return MetaUnknown, "", err
	}
	empty, e := s.cfg.Tools.Blank(v.lower(s.cfg.Self))
	switch {
	case e != nil:
		return MetaUnknown, "", e
	case empty:
		return MetaBlank, "", nil
	case strings.Contains(err.Error(), "No valid meta data found"), strings.Contains(err.Error(), "No valid meta-data"):
		return MetaForeign, "", nil
	}
	return MetaUnknown, "", err
}

// generation is the current one of what get-gi says: CURRENT:BITMAP:HISTORY:HISTORY:flags. Its last bit says only that the
// copy is being written to.
func generation(out string) string {
	for line := range strings.Lines(out) {
		current, _, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok || len(current) != 16 || strings.Trim(current, "0123456789ABCDEFabcdef") != "" {
			continue
		}
		current = strings.ToUpper(current)
		if current == newData {
			return current
		}
		last := strings.IndexByte("0123456789ABCDEF", current[15])
		return current[:15] + string("0123456789ABCDEF"[last&^1])
	}
	return ""
}
