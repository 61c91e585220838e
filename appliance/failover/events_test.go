package failover

import (
	"strings"
	"testing"
	"time"
)

// Each change is told once, however long it lasts.
func TestEventsOnce(t *testing.T) {
	l := newLab(t, Pair, 2)
	for _, b := range l.heads {
		b.Policy.Loss = Available
	}
	l.settle()
	h1, h2 := l.heads[0], l.heads[1]
	if got := count(h1.events, "head1: owns the cluster under epoch 1.0"); got != 1 {
		t.Errorf("%d times that it owns: %+v", got, h1.events)
	}
	h2.events = nil
	l.run(10 * time.Second)
	if len(h2.events) != 0 {
		t.Errorf("nothing has happened: %+v", h2.events)
	}
	h1.powerOff()
	l.run(10 * time.Second)
	for _, want := range []string{"head2: owns the cluster under epoch 2.1: everything of head1 is silent"} {
		if count(h2.events, want) != 1 || !mailed(h2, want) {
			t.Errorf("%q: %+v", want, h2.events)
		}
	}
	if n := len(h2.events); n > 3 {
		t.Errorf("%d events of one takeover: %+v", n, h2.events)
	}
}

func TestBlockedIsMailedOnce(t *testing.T) {
	l := warm(t, Pair, 2)
	h2 := l.heads[1]
	l.heads[0].powerOff()
	l.run(60 * time.Second)
	if !mailed(h2, "nobody may own the cluster without a person: ") || h2.phase() != Blocked {
		t.Fatalf("%+v", h2.events)
	}
	// Somebody owns, and then nobody does again: another mail.
	h2.Operator.ConfirmDead = "head1"
	l.run(time.Second)
	h2.events = nil
	l.heads[0].start()
	l.run(3 * time.Second)
	h2.powerOff()
	l.run(3 * time.Second)
	if h1 := l.heads[0]; h1.phase() != Blocked || !mailed(h1, "nobody may own the cluster without a person: ") {
		t.Errorf("%s %+v", l, h1.events)
	}
}

func TestFencingIsToldOnce(t *testing.T) {
	l := newLab(t, Pair, 2)
	h2 := l.heads[1]
	h2.View.Fencing.Possible, h2.fenceEnds = true, FenceFailed
	l.settle()
	l.heads[0].powerOff()
	l.run(45 * time.Second) // four attempts
	if got := count(h2.events, "fences head1"); got != 1 {
		t.Errorf("told %d times: %+v", got, h2.events)
	}
	if !mailed(h2, "head1 could not be fenced") {
		t.Errorf("%+v", h2.events)
	}
	h2.fenceEnds = FenceProof // the device works again
	l.until("head2", Active, 15*time.Second)
}

// A proof ends when the head is heard again.
func TestProofIsNotForEver(t *testing.T) {
	l := newLab(t, Pair, 2)
	for _, b := range l.heads {
		b.View.Fencing.Possible = true
	}
	l.settle()
	h1, h2 := l.heads[0], l.heads[1]
	h1.frozen = true
	l.until("head2", Active, 2*time.Second)
	if !h1.off {
		t.Fatal("head1 was not fenced")
	}
	l.run(2 * time.Second)
	h1.start()
	l.run(3 * time.Second)
	if l.owner() != "head2" || h1.phase() != Standby || h1.off {
		t.Fatalf("%s", l)
	}
	h2.powerOff()
	l.run(2 * time.Second)
	if l.owner() != "head1" {
		t.Errorf("%s", l)
	}
}

// In every phase there is a reason; where a person is needed, there is something to type.
func TestWhy(t *testing.T) {
	for _, test := range []struct {
		name  string
		kind  AuthorityKind
		after func(l *lab)
		head  int
		run   time.Duration
		phase Phase
		want  string
		try   string
	}{
		{"the owner", Pair, nil, 0, time.Second, Active, "owns the cluster under epoch 1.0: head2 agrees", ""},
		{"the follower", Pair, nil, 1, time.Second, Standby, "follows head1", ""},
		{"a beat or two are lost", Pair, func(l *lab) { l.heads[0].powerOff() }, 1, 200 * time.Millisecond, Standby, "follows head1", ""},
		{"suspicious", Pair, func(l *lab) { l.heads[0].powerOff() }, 1, 400 * time.Millisecond, Suspect, "finds out whether head1 is dead", "masthead fence confirm-dead head1"},
		{"blocked", Pair, func(l *lab) { l.heads[0].powerOff() }, 1, 2 * time.Second, Blocked, "not taking over: all is silent, and nothing proves that head1 is off", "masthead fence confirm-dead head1"},
		{"no lease", Panel, func(l *lab) { l.part("head1", nic0, "head2") }, 1, 2 * time.Second, Suspect, "not taking over: the voters say that head1 has the lease", ""},
		{"no quorum", Panel, func(l *lab) { l.heads[0].voters, l.heads[1].voters = Down, Down }, 1, 5 * time.Second, Blocked, "not claiming: too few voters answer to grant the lease to anybody", "masthead promote --force"},
		{"diverged", Panel, func(l *lab) { l.heads[1].Data = DataDiverged }, 1, time.Second, Quarantine, "both heads have written to their data: this one's is set aside, and never claims", "masthead data status"},
		{"ending", Panel, func(l *lab) { l.heads[0].powerOff(); l.heads[1].Self.Stopping = true }, 1, time.Second, Standby, "its daemon is ending", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := warm(t, test.kind, 2)
			if test.after != nil {
				test.after(l)
			}
			l.run(test.run)
			w := l.heads[test.head].last.Why
			if w.Phase != test.phase || w.Summary != test.want || w.Try != test.try {
				t.Errorf("%v %q, try %q; want %v %q, try %q", w.Phase, w.Summary, w.Try, test.phase, test.want, test.try)
			}
		})
	}
}

func count(events []Event, text string) int {
	n := 0
	for _, e := range events {
		if strings.Contains(e.Text, text) {
			n++
		}
	}
	return n
}
