package simulation

import (
	"fmt"
	"testing"
	"time"

	"masthead/appliance/failover"
)

// Two persons promote two heads, one after the other, by force: both copies are written to by themselves. Neither is thrown
// away, the one of the head that does not own is set aside and never claims, whatever becomes of the owner.
func TestQuarantine(t *testing.T) {
	for _, name := range []string{"pair, safe, data", "pair, fencing, data", "panel of 3, data", "raft, 3 heads, data"} {
		for seed := range uint64(20) {
			t.Run(fmt.Sprintf("%s/%d", name, seed), func(t *testing.T) { quarantine(t, name, seed) })
		}
	}
}

func quarantine(t *testing.T, name string, seed uint64) {
	var sc Scenario
	for _, s := range Scenarios() {
		if s.Name == name {
			sc = s
		}
	}
	p := NewPlayer(failover.Decide)
	from, failure := p.prepare(sc)
	if failure.Invariant != "" {
		t.Fatal(failure)
	}
	w := *from
	w.rnd.state += seed
	w.story, w.left = &story{}, 1 // it is not over before this test says so
	w.healed, w.law.fineAt = w.now, -1
	for i := range sc.Heads {
		w.relink(i)
	}
	run := func(what string, until func() bool) {
		t.Helper()
		for end := w.now + 2*time.Minute; !until(); { // the heads may compare their copies several times before both know
			w.play(w.now + 50*time.Millisecond)
			if w.done {
				t.Fatalf("%s: %+v\n%s", what, w.failure, w.story)
			}
			if w.now > end {
				t.Fatalf("%s: not within 2 min\n%s", what, w.story)
			}
		}
	}
	phase := func(i int, want failover.Phase) func() bool {
		return func() bool { return w.heads[i].view.Memory.Phase == want }
	}
	promote := func(i int) {
		w.law.person[i], w.law.word[i] = true, true
		w.heads[i].operator.Promote, w.heads[i].operator.Force = true, true
	}
	writes := func(i int) func() bool { return func() bool { return w.writes(i) && w.heads[i].open(w.now) } }

	w.powerOff(1, "test") // the owner goes on alone
	w.heads[1].heldOff = true
	end := w.now + 4*time.Second
	run("the owner is alone", func() bool { return w.now > end })
	if sc.Kind == failover.Raft { // nothing gives it the word but a person
		w.heads[0].operator.ConfirmDead = headNames[1]
	}
	run("the owner writes alone", writes(0))
	w.powerOff(0, "test")
	w.heads[0].heldOff = true
	w.heads[1].heldOff = false
	w.powerOn(1)
	run("the older copy is blocked", phase(1, failover.Blocked))
	promote(1)
	run("the older copy is written to", writes(1))
	alone := [2]uint64{w.data.side[0].content, w.data.side[1].content}
	w.heads[0].heldOff = false
	w.powerOn(0)
	run("the newer copy is set aside", phase(0, failover.Quarantine))
	if !w.data.split || !w.writes(1) {
		t.Errorf("split %v, head2 writes %v", w.data.split, w.writes(1))
	}
	w.powerOff(1, "test")
	w.heads[1].heldOff = true
	for end := w.now + 20*time.Second; w.now < end; {
		w.play(w.now + 50*time.Millisecond)
		if p := w.heads[0].view.Memory.Phase; p != failover.Quarantine {
			t.Fatalf("the owner died, and the copy that was set aside is %v\n%s", p, w.story)
		}
	}
	if got := [2]uint64{w.data.side[0].content, w.data.side[1].content}; got != alone {
		t.Errorf("the copies had %b, now %b", alone, got)
	}
}
