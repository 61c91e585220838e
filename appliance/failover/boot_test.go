package failover

import (
	"testing"
	"time"
)

func TestColdBoot(t *testing.T) {
	// history has head1 own, then head2 while head1 is off; both are off at the end.
	history := func(kind AuthorityKind, data Data) func(t *testing.T) *lab {
		return func(t *testing.T) *lab {
			l := newLab(t, kind, 2)
			for _, b := range l.heads {
				b.Policy.Loss, b.Data = Available, data
			}
			l.settle()
			l.heads[0].powerOff()
			l.until("head2", Active, 5*time.Second)
			l.run(time.Second)
			l.heads[1].powerOff()
			l.run(2 * time.Second)
			return l
		}
	}
	fresh := func(kind AuthorityKind) func(t *testing.T) *lab {
		return func(t *testing.T) *lab {
			l := newLab(t, kind, 2)
			for _, b := range l.heads {
				b.powerOff()
			}
			return l
		}
	}
	for _, test := range []struct {
		name  string
		lab   func(t *testing.T) *lab
		boot  []int
		set   func(l *lab)
		want  string // the owner
		phase Phase  // of the first that boots, where nobody owns
		limit time.Duration
	}{
		{name: "both, for the first time: the lowest id", lab: fresh(Pair), boot: []int{1, 0}, want: "head1", limit: time.Second},
		{name: "both: the highest epoch", lab: history(Pair, NoData), boot: []int{0, 1}, want: "head2", limit: time.Second},
		{name: "both, with data: the highest epoch", lab: history(Pair, DataUpToDate), boot: []int{0, 1}, want: "head2", limit: time.Second},
		{name: "both, with a panel", lab: history(Panel, NoData), boot: []int{0, 1}, want: "head2", limit: time.Second},
		{name: "both: data that is up to date before the epoch", lab: history(Pair, DataUpToDate), boot: []int{0, 1},
			set: func(l *lab) { l.heads[1].Data = DataOutdated }, want: "head1", limit: 15 * time.Second},
		{name: "both, unhealthy", lab: fresh(Pair), boot: []int{0, 1},
			set: func(l *lab) { l.heads[0].Self.Unhealthy = "a monitor asks for a failover" }, want: "head2", limit: time.Second},
		{name: "alone, a pair", lab: history(Pair, NoData), boot: []int{1}, phase: Blocked},
		{name: "alone and stale, a pair", lab: history(Pair, NoData), boot: []int{0}, phase: Blocked},
		{name: "alone, the risk accepted", lab: history(Pair, NoData), boot: []int{1},
			set: func(l *lab) { l.heads[1].Policy.AloneAtBoot = true }, want: "head2", limit: 13 * time.Second},
		{name: "alone, the voters vouch", lab: history(Panel, NoData), boot: []int{1}, want: "head2", limit: 13 * time.Second},
		{name: "alone, with data, voters that remember nothing", lab: history(Panel, DataUpToDate), boot: []int{1},
			set: func(l *lab) { l.vouches = false }, phase: Blocked},
		{name: "alone, with fencing: no fencing at a boot", lab: history(Pair, NoData), boot: []int{1},
			set: func(l *lab) { l.heads[1].View.Fencing.Possible = true }, phase: Blocked},
		{name: "alone, with fencing, the risk accepted", lab: history(Pair, NoData), boot: []int{1},
			set: func(l *lab) {
				l.heads[1].View.Fencing.Possible, l.heads[1].Policy.AloneAtBoot = true, true
			}, want: "head2", limit: 14 * time.Second},
		{name: "not confirmed to be one of the cluster", lab: fresh(Pair), boot: []int{0},
			set: func(l *lab) {
				l.heads[0].Self.Barred, l.heads[0].Policy.AloneAtBoot = "it does not know whether it is still a head", true
			}, phase: Blocked},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := test.lab(t)
			if test.set != nil {
				test.set(l)
			}
			for _, i := range test.boot {
				l.heads[i].start()
			}
			if test.want != "" {
				t.Logf("%v", l.until(test.want, Active, test.limit))
			}
			l.run(15 * time.Second)
			if got := l.owner(); got != test.want {
				t.Fatalf("%q owns, want %q: %s", got, test.want, l)
			}
			if b := l.heads[test.boot[0]]; test.want == "" && b.phase() != test.phase {
				t.Errorf("%v, want %v: %s", b.phase(), test.phase, l)
			}
			if b := l.heads[test.boot[0]]; b.phase() == Blocked && (b.last.Why.Try == "" || !mailed(b, "nobody may own the cluster")) {
				t.Errorf("blocked, and nobody knows: %+v", b.events)
			}
		})
	}
}

// A cluster of one head is its own quorum: active at once.
func TestSingle(t *testing.T) {
	l := newLab(t, Single, 1)
	if got := l.until("head1", Active, time.Second); got > 300*time.Millisecond {
		t.Errorf("owns after %v", got)
	}
}

// kill -9, and the daemon is back while the kernel still holds the gate open: nobody notices.
func TestRestartWithinTheLease(t *testing.T) {
	for _, kind := range []AuthorityKind{Pair, Panel, Raft} {
		n := 2
		if kind == Raft {
			n = 3
		}
		l := warm(t, kind, n)
		l.run(time.Second)
		h1 := l.heads[0]
		epoch := h1.Record.Epoch
		h1.killed = true
		l.run(150 * time.Millisecond)
		h1.daemon()
		for range 100 {
			l.run(step)
			if !h1.Gate.Open || h1.Services != ServicesStarted || h1.phase() != Active {
				t.Fatalf("%v: a gap: %s", kind, l)
			}
		}
		if h1.Record.Epoch != epoch {
			t.Errorf("%v: epoch %v, want %v", kind, h1.Record.Epoch, epoch)
		}
	}
}

// Back too late, it is any head that boots: the other one owns by then, or is asked.
func TestRestartAfterTheLease(t *testing.T) {
	l := warm(t, Panel, 2)
	h1 := l.heads[0]
	h1.killed = true
	l.run(2 * time.Second)
	if l.owner() != "head2" {
		t.Fatalf("%s", l)
	}
	h1.daemon()
	l.run(3 * time.Second)
	if l.owner() != "head2" || h1.phase() != Standby || h1.Services != ServicesStopped {
		t.Errorf("%s", l)
	}
}

// A gate that is open for another epoch, or on the record of another boot, is no title.
func TestRestartIsNoTitle(t *testing.T) {
	l := warm(t, Pair, 2)
	h1 := l.heads[0]
	h1.killed = true
	l.run(50 * time.Millisecond)
	h1.daemon()
	for name, change := range map[string]func(v *View){
		"another epoch":      func(v *View) { v.Gate.Epoch += MaxHeads },
		"another boot":       func(v *View) { v.Self.BootID = "another" },
		"shut":               func(v *View) { v.Gate = Gate{} },
		"ended":              func(v *View) { v.Gate.Until = l.now },
		"another owner":      func(v *View) { v.Record.Owner = "head2" },
		"a disk that fails":  func(v *View) { v.RecordErr = "read-only file system" },
		"a higher epoch yet": func(v *View) { v.Peers[0].Said = Said{BootID: 7, Epoch: 33} },
	} {
		v := h1.View
		v.Peers = append([]Peer(nil), v.Peers...)
		change(&v)
		if d := Decide(v, l.now); d.Gate.Open || d.Memory.Phase == Active || d.Services != Stop {
			t.Errorf("%s: %+v", name, d)
		}
	}
	if d := Decide(h1.View, l.now); !d.Gate.Open || d.Memory.Phase != Active {
		t.Errorf("as it was: %+v", d)
	}
}
