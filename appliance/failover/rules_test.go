package failover

import (
	"strings"
	"testing"
	"time"
)

// R1: act only while the epoch is on the disk and the lease is live.
func TestR1NothingBeforeTheRecord(t *testing.T) {
	l := warm(t, Panel, 2)
	h2 := l.heads[1]
	h2.deaf = true
	l.run(100 * time.Millisecond)
	l.heads[0].powerOff()
	l.part("head1", nic0, "head2")
	l.run(5 * time.Second)
	if h2.phase() != Blocked || h2.Gate.Open || h2.Services != ServicesStopped || h2.Record.Epoch != 16 {
		t.Fatalf("a head that cannot write acts: %s", l)
	}
	if !mailed(h2, "its record cannot be written: no space left on device") {
		t.Errorf("nobody was told: %+v", h2.events)
	}
	h2.deaf = false
	if got := l.until("head2", Active, 3*time.Second); got > 2*time.Second {
		t.Errorf("takes over %v after the disk works again", got)
	}
}

func TestR1NothingAfterTheLease(t *testing.T) {
	l := warm(t, Panel, 2)
	h1 := l.heads[0]
	h1.voters, l.heads[1].voters = Down, Down
	for h1.Gate.Open {
		if h1.Gate.Until > h1.Authority.Until {
			t.Fatalf("the gate is open until %v, the lease until %v", h1.Gate.Until, h1.Authority.Until)
		}
		l.run(step)
	}
	if since := l.now - h1.asked; h1.phase() == Active || since > 600*time.Millisecond {
		t.Fatalf("%v %s", since, l)
	}
	l.run(time.Second)
	if h1.Services != ServicesStopped || !mailed(h1, "the lease has ended") {
		t.Errorf("%s\n%+v", l, h1.events)
	}
}

// R2: a higher epoch, seen anywhere, ends what this head does at once.
func TestR2HigherEpoch(t *testing.T) {
	for _, test := range []struct {
		name string
		kind AuthorityKind
		seen func(v *View)
		want string
	}{
		{"the other head acts", Pair, func(v *View) { v.Peers[0].Said.Phase, v.Peers[0].Said.Acting = Active, 33 }, "head2 acts or claims under epoch 2.1"},
		{"the other head claims", Pair, func(v *View) { v.Peers[0].Said.Phase, v.Peers[0].Said.Acting = Claim, 33 }, "head2 acts or claims under epoch 2.1"},
		{"the other head has it on its disk", Pair, func(v *View) { v.Peers[0].Said.Epoch = 33 }, "head2 knows epoch 2.1"},
		{"the other head is of a newer generation", Pair, func(v *View) { v.Peers[0].Said.Gen = 9 }, "head2 is of a newer generation of the cluster"},
		{"the other head has it on its disk", Panel, func(v *View) { v.Peers[0].Said.Epoch = 33 }, "head2 knows epoch 2.1"},
		{"the voters know it, and the lease is gone", Panel, func(v *View) { v.Authority.Held, v.Authority.Known = 0, 33 }, "the voters know epoch 2.1"},
		{"its own disk knows it", Raft, func(v *View) { v.Record.Epoch = 33 }, "its disk knows epoch 2.1"},
	} {
		t.Run(test.kind.String()+": "+test.name, func(t *testing.T) {
			n := 2
			if test.kind == Raft {
				n = 3
			}
			l := warm(t, test.kind, n)
			h1 := l.heads[0]
			if h1.Peers[0].Said.Yields != h1.Record.Epoch {
				t.Fatalf("head2 does not follow: %s", l)
			}
			v := h1.View
			test.seen(&v)
			d := Decide(v, l.now+step)
			if d.Gate.Open || d.Services != Stop || d.Memory.Phase != Release || d.Say.Phase != Release {
				t.Fatalf("goes on: %+v", d)
			}
			if !strings.Contains(d.Why.Summary, test.want) || len(d.Events) != 1 || !d.Events[0].Mail {
				t.Errorf("%q, %+v", d.Why.Summary, d.Events)
			}
		})
	}
}

// R2, to the end: who was toppled stops, says so, and follows.
func TestR2EndsAsStandby(t *testing.T) {
	l := warm(t, Panel, 2)
	h1, h2 := l.heads[0], l.heads[1]
	h1.frozen = true
	l.until("head2", Active, time.Second)
	l.run(time.Second)
	h1.frozen = false
	l.run(step)
	if h1.phase() == Active || h1.Gate.Open {
		t.Fatalf("acts on: %s", l)
	}
	l.run(time.Second)
	if h1.phase() != Standby || h1.Services != ServicesStopped || h1.Record.Owner != "head2" || h1.Record.Epoch != h2.Record.Epoch {
		t.Fatalf("%s", l)
	}
	if h1.last.Say.Yields != h2.Record.Epoch {
		t.Errorf("says %+v", h1.last.Say)
	}
}

// R3: what a head remembers is history after a boot.
func TestR3NotFromMemory(t *testing.T) {
	for _, kind := range []AuthorityKind{Pair, Panel, Raft} {
		n := 2
		if kind == Raft {
			n = 3
		}
		l := warm(t, kind, n)
		l.run(time.Second)
		h1 := l.heads[0]
		for _, b := range l.heads {
			b.powerOff()
		}
		for _, b := range l.heads[1:] {
			l.part("head1", nic0, b.Self.Name)
		}
		h1.voters = Down
		l.run(time.Second)
		h1.start()
		for range 200 {
			l.run(100 * time.Millisecond)
			if h1.phase() == Active || h1.phase() == Promote || h1.Gate.Open {
				t.Fatalf("%v: owns from its own memory: %s", kind, l)
			}
		}
		if h1.phase() != Blocked || h1.last.Why.Try == "" {
			t.Errorf("%v: %s", kind, l)
		}
		if !mailed(h1, "nobody may own the cluster without a person") {
			t.Errorf("%v: %+v", kind, h1.events)
		}
	}
}

// R4: who comes back does not take it back.
func TestR4NoFailback(t *testing.T) {
	for _, kind := range []AuthorityKind{Pair, Panel, Raft} {
		n := 2
		if kind == Raft {
			n = 3
		}
		l := newLab(t, kind, n)
		for _, b := range l.heads {
			b.Policy.Loss = Available
		}
		l.settle()
		h1 := l.heads[0]
		h1.powerOff()
		l.run(3 * time.Second)
		heir := l.owner()
		if heir == "" {
			t.Fatalf("%v: nobody owns: %s", kind, l)
		}
		since := l.head(heir).activeAt
		h1.start()
		l.run(20 * time.Second)
		if h1.phase() != Standby || l.owner() != heir || l.head(heir).activeAt != since {
			t.Errorf("%v: %s was to stay the owner: %s", kind, heir, l)
		}
	}
}

// R5: data that is not up to date, or older than known, never claims.
func TestR5Data(t *testing.T) {
	for _, data := range []Data{DataSyncing, DataOutdated, DataUnknown, DataDiverged} {
		for _, kind := range []AuthorityKind{Pair, Panel} {
			l := newLab(t, kind, 2)
			for _, b := range l.heads {
				b.Data, b.Policy.Loss = DataUpToDate, Available
			}
			l.settle()
			l.heads[1].Data = data
			l.run(time.Second)
			l.heads[0].powerOff()
			for range 300 {
				l.run(20 * time.Millisecond)
				if h2 := l.heads[1]; h2.phase() == Claim || h2.phase() == Promote || h2.phase() == Active {
					t.Fatalf("%v, data %v: %s", kind, data, l)
				}
			}
		}
	}
}

// A heartbeat of the owner that was long under way comes when the takeover is decided: all of the silence is waited for again.
func TestI1LateHeartbeat(t *testing.T) {
	l := newLab(t, Pair, 2)
	for _, b := range l.heads {
		b.Policy.Loss = Available
	}
	l.settle()
	h2 := l.heads[1]
	l.heads[0].powerOff()
	l.until("head2", Promote, time.Second)
	heard := l.now
	h2.Peers[0].Links[0].Heard = heard
	for !h2.Gate.Open {
		if l.run(step); l.now-heard > 2*time.Second {
			t.Fatalf("never takes over: %s", l)
		}
	}
	if got, want := l.now-heard, h2.Policy.Timing.Silence; got < want {
		t.Errorf("opens its gate %v after the owner was heard to act, want %v", got, want)
	}
	epoch := h2.Record.Epoch
	l.run(3 * time.Second)
	if h2.phase() != Active || !h2.Gate.Open || h2.Record.Epoch != epoch {
		t.Errorf("one late heartbeat of a dead owner has made the new one give way: %s", l)
	}
}

// I1: a cut has made both owners, and the later one hears the other again and again, for less than a moment each time: they do
// not stay two.
func TestI1HeardNowAndThen(t *testing.T) {
	l := newLab(t, Pair, 2)
	for _, b := range l.heads {
		b.Policy.Loss = Available
	}
	l.settle()
	l.twoOK = true
	h1, h2 := l.heads[0], l.heads[1]
	l.part("head1", nic0, "head2")
	l.until("head2", Active, 2*time.Second)
	began := l.now
	for h2.Gate.Open && l.now-began < 2*time.Second {
		l.heal()
		l.deafen("head2", nic0, "head1")
		l.run(60 * time.Millisecond)
		l.part("head1", nic0, "head2")
		l.run(300 * time.Millisecond)
	}
	if h2.Gate.Open || h1.phase() != Active || l.now-began > 1100*time.Millisecond {
		t.Errorf("%v after the first of it: %s", l.now-began, l)
	}
	if !mailed(h2, "another head acts, and does not give way") {
		t.Errorf("nobody was told: %+v", h2.events)
	}
}

// R5: the head that owned last, and wrote without the other one, does not agree that that one takes over before it has the same.
func TestR5LastOwnerAlone(t *testing.T) {
	for _, test := range []struct {
		name     string
		data     Data
		mirrored Reading
		theirs   Data
		record   func(r *Record)
		agrees   bool
	}{
		{"has written alone", DataUpToDate, Down, DataUpToDate, nil, false},
		{"does not know how its copy stands", DataUnknown, Unknown, DataUpToDate, nil, false},
		{"is seen by a copy that is behind", DataUpToDate, Up, DataSyncing, nil, false},
		{"is seen by one that has everything", DataUpToDate, Up, DataUpToDate, nil, true},
		{"has an older copy", DataOutdated, Down, DataUpToDate, nil, true},
		{"has a copy that is made anew", DataSyncing, Down, DataUpToDate, nil, true},
		{"has no data", NoData, Unknown, NoData, nil, true},
		{"has always written to both", DataUpToDate, Down, DataUpToDate, func(r *Record) { r.SoloSince = time.Time{} }, true},
		{"was not the last owner", DataUpToDate, Down, DataUpToDate, func(r *Record) { r.Owner = "head2" }, true},
	} {
		l := warm(t, Pair, 2)
		v := l.heads[0].View
		v.Memory = Memory{}
		v.Gate, v.Services = Gate{}, ServicesStopped
		v.Data, v.Mirrored = test.data, test.mirrored
		v.Record.BootID, v.Record.SoloSince = "another boot", time.Unix(1, 0)
		if test.record != nil {
			test.record(&v.Record)
		}
		s := &v.Peers[0].Said
		s.Phase, s.Acting, s.Yields, s.Data = Claim, 33, 0, test.theirs
		d := Decide(v, l.now+step)
		if got := d.Say.Yields == 33; got != test.agrees {
			t.Errorf("a last owner that %s agrees: %v, want %v; %+v", test.name, got, test.agrees, d.Why)
		}
	}
}
