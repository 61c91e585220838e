package failover

import (
	"strings"
	"testing"
	"time"
)

// bereft is a pair or panel whose owner is gone and whose standby is blocked.
func bereft(t *testing.T, kind AuthorityKind, set func(l *lab)) *lab {
	t.Helper()
	l := warm(t, kind, 2)
	if set != nil {
		set(l)
		l.run(time.Second)
	}
	l.heads[0].powerOff()
	l.part("head1", nic0, "head2")
	l.until("head2", Blocked, 5*time.Second)
	return l
}

func quorumLost(l *lab) { l.heads[1].voters = Down }

func TestConfirmDead(t *testing.T) {
	l := bereft(t, Pair, nil)
	h2 := l.heads[1]
	h2.Operator.ConfirmDead = "head9"
	l.run(step)
	if got := h2.last.Done.ConfirmDead; got != "refused: there is no other head head9" {
		t.Errorf("%q", got)
	}
	h2.Operator.ConfirmDead = "head1"
	l.run(step)
	if got := h2.last.Done.ConfirmDead; got != "head1 counts as off until it is heard" {
		t.Errorf("%q", got)
	}
	if got := l.until("head2", Active, time.Second); got > 500*time.Millisecond {
		t.Errorf("took %v", got)
	}
	if l.run(100 * time.Millisecond); l.owner() != "head2" {
		t.Errorf("%s", l)
	}
	// It is back: a person's word does not outlive that.
	l.heal()
	l.heads[0].start()
	l.run(3 * time.Second)
	if l.owner() != "head2" || l.heads[0].phase() != Standby {
		t.Errorf("%s", l)
	}
}

func TestConfirmDeadRefusedWhileHeard(t *testing.T) {
	l := warm(t, Pair, 2, nic0, tty)
	l.part("head1", nic0, "head2")
	l.run(time.Second)
	h2 := l.heads[1]
	h2.Operator.ConfirmDead = "head1"
	l.run(step)
	if got := h2.last.Done.ConfirmDead; got != "refused: head1 is alive: it is heard on serial ttyS1" {
		t.Errorf("%q", got)
	}
	if l.run(time.Second); l.owner() != "head1" {
		t.Errorf("%s", l)
	}
}

func TestPromote(t *testing.T) {
	for _, test := range []struct {
		name  string
		kind  AuthorityKind
		set   func(l *lab)
		force bool
		want  string // Done.Promote, or the owner's reason
		owner string
	}{
		{"a pair", Pair, nil, false, "a person has promoted it", "head2"},
		{"no quorum", Panel, quorumLost, false, "refused: too few voters answer; with --force they are not asked", ""},
		{"no quorum, forced", Panel, quorumLost, true, "a person has promoted it without a quorum", "head2"},
		{"outdated data", Panel, func(l *lab) { l.heads[0].Data, l.heads[1].Data = DataUpToDate, DataOutdated }, false, "refused: its data is outdated", ""},
		{"outdated data, forced", Panel, func(l *lab) { l.heads[0].Data, l.heads[1].Data = DataUpToDate, DataOutdated }, true, "a person has promoted it", "head2"},
		{"a disk that cannot be written", Pair, func(l *lab) { l.heads[1].deaf = true }, true, "refused: its record cannot be written: no space left on device", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := bereft(t, test.kind, test.set)
			h2 := l.heads[1]
			h2.Operator.Promote, h2.Operator.Force = true, test.force
			var got []string
			for range 100 {
				l.run(step)
				got = append(got, h2.last.Done.Promote, h2.last.Why.Summary)
			}
			if all := strings.Join(got, "\n"); l.owner() != test.owner || !strings.Contains(all, test.want) {
				t.Errorf("%q owns; %s", l.owner(), l)
			}
			if test.owner != "" && h2.Operator.Promote {
				t.Error("the wish is not settled")
			}
		})
	}
}

// A head promoted by a person is above whatever the absent one can know.
func TestPromotedStays(t *testing.T) {
	l := bereft(t, Panel, quorumLost)
	h1, h2 := l.heads[0], l.heads[1]
	h1.Record.Epoch = h2.Record.Epoch.Next(0).Next(0) // what it claimed in vain, unheard
	h2.Operator.Promote, h2.Operator.Force = true, true
	l.until("head2", Active, time.Second)
	l.heal()
	h2.voters = Up
	h1.start()
	l.run(15 * time.Second)
	if l.owner() != "head2" || h1.phase() != Standby {
		t.Errorf("%s", l)
	}
}

func TestPromoteRefused(t *testing.T) {
	l := warm(t, Panel, 2)
	h1, h2 := l.heads[0], l.heads[1]
	h2.Operator.Promote, h1.Operator.Promote = true, true
	l.run(step)
	if got := h2.last.Done.Promote; got != "refused: head1 owns the cluster; `masthead head switch` moves it" {
		t.Errorf("%q", got)
	}
	if got := h1.last.Done.Promote; !strings.HasPrefix(got, "this head owns the cluster under epoch ") {
		t.Errorf("%q", got)
	}
	// Diverged data is no person's to force.
	l = warm(t, Panel, 2)
	l.heads[0].powerOff()
	h2 = l.heads[1]
	h2.Data = DataDiverged
	h2.Operator.Promote, h2.Operator.Force = true, true
	if l.run(2 * time.Second); h2.phase() != Quarantine || l.owner() != "" {
		t.Errorf("%s", l)
	}
}

// Somebody still answers for the virtual address: only --force takes it.
func TestPromoteProbes(t *testing.T) {
	l := bereft(t, Pair, nil)
	h2 := l.heads[1]
	v := h2.View
	v.Operator.Promote, v.Probe = true, Probe{VIP: true}
	d := Decide(v, l.now+step)
	if d.Done.Promote != "refused: somebody answers for a virtual address; with --force it is taken all the same" || d.Memory.Phase == Promote {
		t.Errorf("%q, %v", d.Done.Promote, d.Memory.Phase)
	}
	v.Operator.Force = true
	if d := Decide(v, l.now+step); d.Memory.Phase != Promote {
		t.Errorf("%v: %+v", d.Memory.Phase, d.Why)
	}
}
