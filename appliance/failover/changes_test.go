package failover

import (
	"testing"
	"time"
)

// Whatever changes is told once when it fails and once when it works again, by each head that sees it.
func TestChangesAreToldOnce(t *testing.T) {
	const gone, link = "head2 is not heard on any link", "nothing comes from head2 on the serial link ttyS1, and it is heard on nic nic"
	for _, test := range []struct {
		name         string
		fail, mend   func(l *lab)
		bad, good    string
		alsoAtSecond string // what head2 says
	}{
		{"the serial cable", func(l *lab) { l.part("head1", tty, "head2") }, func(l *lab) { l.heal() },
			link, "the serial link ttyS1 to head2 works again", "on the serial link ttyS1"},
		{"one NIC of two", func(l *lab) { l.part("head1", nic1, "head2") }, func(l *lab) { l.heal() },
			"nothing comes from head2 on the nic link nic1", "the nic link nic1 to head2 works again", "on the nic link nic1"},
		{"the standby", func(l *lab) { l.heads[1].powerOff() }, func(l *lab) { l.heads[1].start() }, gone, "head2 is heard again", ""},
		{"the uplink", func(l *lab) { l.heads[0].Uplink, l.heads[1].Uplink = Down, Down }, func(l *lab) { l.heads[0].Uplink, l.heads[1].Uplink = Up, Up },
			"its uplink is down", "its uplink works again", "its uplink is down"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := warm(t, Panel, 2, nic0, nic1, tty)
			l.run(time.Second)
			h1, h2 := l.heads[0], l.heads[1]
			h1.events, h2.events = nil, nil
			test.fail(l)
			l.run(30 * time.Second)
			if !mailed(h1, test.bad) || len(h1.events) != 1 {
				t.Errorf("of the failure: %+v", h1.events)
			}
			if test.alsoAtSecond != "" && !mailed(h2, test.alsoAtSecond) {
				t.Errorf("head2: %+v", h2.events)
			}
			h1.events = nil
			test.mend(l)
			l.run(10 * time.Second)
			if count(h1.events, test.good) != 1 || len(h1.events) != 1 || l.owner() != "head1" {
				t.Errorf("of its end: %+v %s", h1.events, l)
			}
		})
	}
}

// A head that has stood still has not listened: it accuses nobody.
func TestPauseAccusesNobody(t *testing.T) {
	l := warm(t, Panel, 2, nic0, tty)
	l.run(time.Second)
	h2 := l.heads[1]
	h2.events = nil
	h2.frozen = true
	l.run(20 * time.Second)
	h2.frozen = false
	l.part("head1", nic0, "head2") // its buffers are empty for a moment
	l.part("head1", tty, "head2")
	l.run(100 * time.Millisecond)
	l.heal()
	l.run(5 * time.Second)
	if n := count(h2.events, "head1 is"); n != 0 || h2.phase() != Standby {
		t.Errorf("%+v %s", h2.events, l)
	}
	// And who is gone stays gone for a head that stands still again.
	l.heads[0].powerOff()
	l.run(5 * time.Second)
	h2.events = nil
	h2.frozen = true
	l.run(2 * time.Second)
	h2.frozen = false
	l.run(5 * time.Second)
	if n := count(h2.events, "head1 is"); n != 0 {
		t.Errorf("told again: %+v", h2.events)
	}
}

func TestConflictIsToldOnce(t *testing.T) {
	l := warm(t, Panel, 2)
	v := l.heads[0].View
	v.Gate.Conflict = "02:00:00:00:00:99"
	told := 0
	for i := range 50 {
		d := Decide(v, l.now+Instant(i+1)*step)
		told += len(d.Events)
		v.Memory = d.Memory
		v.Authority.Until = l.now + Instant(i+60)*step
	}
	if told != 1 || v.Memory.Phase != Active {
		t.Errorf("%d times, %v", told, v.Memory.Phase)
	}
}
