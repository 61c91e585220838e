package data

import (
	"cmp"
	"context"
	"fmt"
)

// Refused is a change that cannot be, and what to type instead.
type Refused struct {
	error
	try string
}

// Try says what helps.
func (r *Refused) Try() string { return r.try }

func refuse(try, format string, args ...any) error {
	return &Refused{fmt.Errorf(format, args...), try}
}

// unknown is why nothing can be done to a copy yet; empty: DRBD has it. The caller holds mu.
func (s *Set) unknown(v *volume) string {
	switch why := cmp.Or(v.trouble, v.why); {
	case !s.ready:
		return "nothing is known yet: " + cmp.Or(s.trouble, ErrNotSaid.Error())
	case v.look.Copy.There:
		return ""
	case v.look.Meta == MetaUnknown:
		return "nothing is known yet: " + cmp.Or(why, "nobody has looked at the device yet")
	case why != "":
		return "DRBD has nothing yet: " + why
	}
	return "DRBD has nothing yet"
}

// listens: the copy of v does not stand alone any more, by whoever connected it.
func (s *Set) listens(v *volume) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !v.look.Copy.StandsAlone()
}

// Change does to this head's copy what a person asks for, and says what that is. dry: only says so.
//
// create makes a new volume though the other copy is not there; connect tries again to connect; verify compares the two
// copies; discard gives up what this copy has and the other has not, and keep is for that other one.
func (s *Set) Change(ctx context.Context, name, action string, dry bool) (does string, err error) {
	s.mu.Lock()
	v := s.named(name)
	if v == nil {
		s.mu.Unlock()
		return "", fmt.Errorf("data %s: %w", name, ErrNoVolume)
	}
	look, head := v.look, s.cfg.Self
	unknown := s.unknown(v)
	s.mu.Unlock()
	c := look.Copy
	if action == "connect" && len(s.cfg.Hosts) == 1 {
		return "", refuse("masthead data status", "this cluster has one head: there is no other copy of %s to connect to", name)
	}
	if unknown != "" && (action == "create" || action == "connect" || action == "verify") {
		return "", refuse("masthead data status, and then the same again", "of the copy of %s on %s %s", name, head, unknown)
	}
	var steps [][]string
	switch action {
	case "create":
		if look.Meta != MetaNew || c.Disk != inconsistent {
			return "", refuse("masthead data status", "the copy of %s is not a new one: nothing is to be made", head)
		}
		does = "the volume " + name + " begins with the blank copy of " + head + ", and the other copy is made from it"
		if !dry {
			s.mu.Lock()
			v.force = true
			s.tell()
			s.mu.Unlock()
		}
		return does, nil
	case "connect":
		does = "connect the copy"
		steps = [][]string{{"connect"}}
		if look.Note.Diverged {
			return "", refuse("masthead data show-divergence", "both copies of %s were written to by themselves", name)
		}
		if !c.StandsAlone() {
			return "connected already, or being connected: " + c.Connection, nil
		}
	case "verify":
		if !c.Connected() || c.Disk != upToDate || c.PeerDisk != upToDate {
			return "", refuse("masthead data status", "the two copies of %s are not both up to date and connected", name)
		}
		if c.Syncing() {
			return "", refuse("masthead data status -w", "%s runs already", c.Replication)
		}
		does = "compare the two copies, block by block"
		steps = [][]string{{"verify"}}
	case "keep":
		does = "keep this copy, and connect it"
		if c.StandsAlone() {
			steps = [][]string{{"connect"}}
		}
		if !dry {
			s.mu.Lock()
			v.look.Note.Diverged = false
			s.writeNote(v)
			s.mu.Unlock()
		}
	case "discard":
		if c.Role == primary {
			return "", refuse("masthead head switch", "%s is the one that is written to; what it has cannot be discarded", head)
		}
		does = "discard what only this copy has, and bring it up to date from the other one"
		steps = [][]string{{"disconnect"}, {"connect", "--discard-my-data"}}
	default:
		return "", refuse("masthead data --help", "%q: nobody knows how to do that to a volume", action)
	}
	if dry {
		return does, nil
	}
	if action == "discard" {
		s.mu.Lock()
		v.look.Note.Diverged = true // so that nothing connects it between the two steps
		s.mu.Unlock()
	}
	for i, step := range steps {
		err := s.adm(ctx, step[0], name, step[1:]...)
		if err != nil && !(step[0] == "disconnect" && i < len(steps)-1 && c.StandsAlone()) && !(action == "keep" && s.listens(v)) {
			return "", err
		}
	}
	if action == "discard" {
		s.await(ctx, v, func(c Copy) bool { return !c.StandsAlone() })
		s.mu.Lock()
		v.look.Note.Diverged = false
		s.writeNote(v)
		s.tell()
		s.mu.Unlock()
	}
	return does, nil
}
