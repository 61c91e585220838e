package cluster

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// snapshots keeps a state of a volume that is in use, changes what is there, looks at the difference, and goes back. look is a line
// that shows what change changes; the list of snapshots has all of kinds in the end.
func (s *several) snapshots(t *testing.T, owner, look, change string, kinds ...string) {
	before := s.shell(t, owner, "echo one > /srv/changed; echo one > /srv/removed; sync; "+look)
	out := strings.Fields(s.mustAt(t, owner, "snapshot", "create", "--name", "before-change"))
	name := out[len(out)-1]
	if !strings.HasSuffix(name, "-before-change") {
		t.Fatalf("snapshot create: %q", out)
	}
	s.shell(t, owner, "echo other > /srv/changed; echo two > /srv/added; rm /srv/removed; "+change+"; sync")
	diff := s.mustAt(t, owner, "snapshot", "diff", name)
	for _, want := range []string{"changed  /srv/changed", "added    /srv/added", "removed  /srv/removed"} {
		if !strings.Contains(diff, want) {
			t.Errorf("snapshot diff has no %q:\n%s", want, diff)
		}
	}
	if out, err := s.at(t, owner, "snapshot", "rollback", name); err == nil || !strings.Contains(out, "not confirmed") {
		t.Errorf("a rollback that nobody confirmed: %v\n%s", err, out)
	}
	t.Logf("%s", s.mustAt(t, owner, "snapshot", "rollback", name, "--confirm", name))
	if got := s.shell(t, owner, "cat /srv/changed /srv/removed; ls /srv; "+look); got != "one\none\nchanged\nremoved\n"+before {
		t.Errorf("after the rollback:\n%s\nwant %s", got, before)
	}
	list := s.mustAt(t, owner, "snapshot", "list")
	t.Logf("%s", list)
	if !contains(list, append(kinds, name)...) {
		t.Errorf("snapshot list:\n%s", list)
	}
	s.mustAt(t, owner, "snapshot", "rm", name)
	if list := s.mustAt(t, owner, "snapshot", "list"); strings.Contains(list, name) {
		t.Errorf("after snapshot rm:\n%s", list)
	}
}

// divergence has both copies written to by themselves: the owner's, alone, and that of the other head, after the owner died
// too and a person promoted it by force. Neither is thrown away before a person says which one counts.
func (s *several) divergence(t *testing.T, over *Takeover) {
	ctx := t.Context()
	owner, _, _, err := over.Whole(ctx)
	must(t, err)
	other := over.Other(owner)
	must(t, over.PowerCut(other))
	wrote := "echo %[1]s > /srv/who && echo %[1]s > /srv/of-%[1]s && sync && cat /srv/who"
	s.shell(t, owner, fmt.Sprintf(wrote, owner))
	must(t, over.PowerCut(owner))
	must(t, over.mend(ctx, other))
	must(t, over.awaitBlocked(ctx, other, bootWithin))
	if out, err := s.at(t, other, "promote", "--yes"); err == nil {
		t.Errorf("%s, whose data is older, could be promoted without --force:\n%s", other, out)
	}
	s.mustAt(t, other, "promote", "--force", "--yes")
	must(t, over.AwaitTaken(ctx, other, bootWithin))
	s.serves(t, over)
	s.shell(t, other, fmt.Sprintf(wrote, other))

	setAside := func() {
		t.Helper()
		eventually(t, bootTime, owner+" is set aside", func(ctx context.Context) error {
			if err := over.mend(ctx, owner); err != nil { // at first, and when it was switched off again while it booted: see Whole
				return err
			}
			status, err := over.owner(ctx, owner)
			if err == nil && status.Why.Phase != "quarantine" {
				err = fmt.Errorf("phase %s: %s", status.Why.Phase, status.Why.Summary)
			}
			return err
		})
		if who := over.Answering(); who != other {
			t.Errorf("%q answers for the address, want %s", who, other)
		}
	}
	setAside()
	s.booted(t)
	// A head that knows of nothing finds it out by itself: DRBD tells only the one that is done first with comparing, at times, and
	// what a head knows of it is gone after a boot.
	s.shell(t, owner, "systemctl stop masthead-owner && rm /run/masthead/owner/data/data.json && systemctl start masthead-owner")
	setAside()
	eventually(t, replyTime, "what each side has", func(context.Context) error {
		shown, err := s.at(t, other, "data", "show-divergence")
		if err != nil || !contains(shown, owner, other, "written to by themselves", "masthead data resolve") {
			return fmt.Errorf("data show-divergence: %v\n%s", err, shown)
		}
		t.Logf("%s", shown)
		return nil
	})
	if out, err := s.at(t, other, "data", "resolve", "--keep", other); err == nil || !strings.Contains(out, "not confirmed") {
		t.Errorf("a choice that nobody confirmed: %v\n%s", err, out)
	}
	s.mustAt(t, other, "data", "resolve", "--keep", other, "--confirm", "data "+other)
	s.inSync(t, "the copy of "+other+" is kept")
	if got := s.shell(t, other, "cat /srv/who; ls /srv"); !contains(got, other, "of-"+other) || strings.Contains(got, "of-"+owner) {
		t.Errorf("after the choice:\n%s", got)
	}
	last, _, _, err := over.Whole(ctx)
	if must(t, err); last != other {
		t.Errorf("%s owns, want %s", last, other)
	}
	if isLong() { // this resync's; the copies were compared after the faults too
		s.booted(t)
		s.verified(t)
	}
}
