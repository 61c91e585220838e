package simulation

import (
	"time"

	"masthead/appliance/failover"
)

const (
	checkEvery = 50 * time.Millisecond
	// within is the bound of I5 after the last fault, boots included, beside the listening of those that boot.
	within = 5 * time.Second
)

// check looks at what must be so for a while: I5, I7, I8 and the end of I9; and ends a run in which nothing can happen yet.
func (w *World) check() {
	w.post(event{at: w.now + checkEvery, kind: evCheck})
	l := &w.law
	served, blocked, fine := w.state()
	since(&l.ownerAt, served, w.now)
	since(&l.blockAt, blocked, w.now)
	since(&l.fineAt, fine, w.now)
	if w.overlap() {
		return
	}
	w.leftovers()
	w.stuck()
	if w.sc.Harmless && !w.heads[0].open(w.now) {
		w.moved("the VIP is silent though the owner is healthy")
		return
	}
	if w.schedule.Operator {
		w.person()
	}
	if w.left > 0 {
		return
	}
	quiet := w.now - max(w.healed, l.power)
	if l.holding >= 0 {
		return
	}
	bound := within + w.policy.Timing.JoinWait
	switch {
	case l.fineAt >= 0 && w.now-l.fineAt > 300*time.Millisecond && quiet > 200*time.Millisecond:
		w.done = true
	case quiet < bound && (w.whole() || w.schedule.Operator):
	case l.ownerAt >= 0 && w.now-l.ownerAt > 700*time.Millisecond && quiet > 1500*time.Millisecond && !w.whole():
		w.done = true
	case l.blockAt >= 0 && w.now-l.blockAt > 700*time.Millisecond && quiet > 1500*time.Millisecond && !w.whole():
		w.done = true
	case quiet < bound:
	case !w.anyone(): // all machines are off, or stand still
		w.done = true
	case !served && !blocked:
		w.fail("I5", "nobody owns, and nobody was told")
	case w.whole() && !served:
		w.fail("I5", "nothing is wrong any more, and nobody owns")
	case w.whole() && !fine:
		w.fail("I8", "nothing is wrong any more, and not all others follow the owner")
	default:
		w.done = true
	}
}

func since(at *time.Duration, now bool, when time.Duration) {
	if !now {
		*at = -1
	} else if *at < 0 {
		*at = when
	}
}

// state says whether somebody serves the clients, whether somebody is blocked and a person was told, and whether all is as it
// should be: one owner, all others following it with the same epoch and the same data.
func (w *World) state() (served, blocked, fine bool) {
	owner := -1
	for i := range w.sc.Heads {
		h := &w.heads[i]
		if !h.thinks() {
			continue
		}
		waits := w.waits(i) // who reads is served, and who writes is not
		if h.open(w.now) {
			served, owner = served || !waits, i
		}
		p := h.view.Memory.Phase
		if (p == failover.Blocked || p == failover.Quarantine || waits) && h.mailed >= 0 {
			blocked = true
		}
	}
	if owner < 0 {
		return
	}
	o := &w.heads[owner]
	fine = o.services.state == failover.ServicesStarted && o.view.Memory.Phase == failover.Active
	for i := range w.sc.Heads {
		h := &w.heads[i]
		if i == owner {
			continue
		}
		fine = fine && h.thinks() && h.view.Memory.Phase == failover.Standby && h.disk.record.Epoch == o.disk.record.Epoch &&
			h.services.state == failover.ServicesStopped && (w.reading(i).MayClaim() || w.sc.Data && i >= copies)
	}
	if w.sc.Data {
		fine = fine && w.data.side[0].copy.Replication == "Established" && w.data.side[1].copy.Replication == "Established"
	}
	return
}

// waits says whether an owner's writes wait for a word.
func (w *World) waits(i int) bool {
	if !w.hasCopy(i) {
		return false
	}
	p, c := w.heads[i].view.Memory.Phase, &w.data.side[i].copy
	return p == failover.Active && c.Suspended == frozen || p == failover.Promote && c.Role != primary
}

// anyone says whether there is a head that could do something.
func (w *World) anyone() bool {
	for i := range w.sc.Heads {
		if w.heads[i].thinks() {
			return true
		}
	}
	return false
}

// whole says whether nothing is wrong: no fault is on, and all machines run.
func (w *World) whole() bool {
	for k := range w.schedule.N {
		f := &w.schedule.Faults[k]
		if w.on[k] || f.What == StartFails {
			return false // services that failed for good stay so until a person looks
		}
	}
	for i := range w.sc.Heads {
		if !w.heads[i].thinks() {
			return false
		}
		if w.data.split {
			return false
		}
	}
	return true
}

// overlap looks whether two gates that were excused are still open when they may no longer be.
func (w *World) overlap() bool {
	open := 0
	for i := range w.sc.Heads {
		if w.heads[i].open(w.now) {
			open++
		}
	}
	if open < 2 {
		w.law.end = 0
		return false
	}
	for i := range w.sc.Heads {
		w.gateOpened(i)
	}
	return w.done
}

// stuck checks that an owner which may write without the other copy does so: DRBD asks once for each loss, and a handler that ends
// with a plain no leaves writes waiting for good.
func (w *World) stuck() {
	for i := range w.data.side {
		s := &w.data.side[i]
		k := &s.keeper
		waits := w.hasCopy(i) && w.heads[i].thinks() && k.ready && s.copy.Suspended == frozen && k.word.Go && k.lost >= k.look.Lost && !s.asks.on
		switch {
		case !waits:
			w.law.stuck[i] = 0
		case w.law.stuck[i] == 0:
			w.law.stuck[i] = w.now
		case w.now-w.law.stuck[i] > time.Second:
			w.fail("I5", "writes of "+headNames[i]+" wait though it has the word that it may go on alone, and nobody asks for it")
			return
		}
	}
}

// leftovers checks the end of I9: services do not stay on a head that can act and does not own, nor on one that gives up
// while another one owns: it is reset in time.
func (w *World) leftovers() {
	for i := range w.sc.Heads {
		h := &w.heads[i]
		p := h.view.Memory.Phase
		left := h.thinks() && h.services.state != failover.ServicesStopped && (!p.Holds() || p == failover.Release && w.anotherOwns(i)) &&
			w.now-h.troubled > time.Second
		if !left || h.disk.writing {
			w.law.leftOver[i] = 0
			continue
		}
		if w.law.leftOver[i] == 0 {
			w.law.leftOver[i] = w.now
		}
		bound := w.policy.Timing.StopWithin + 500*time.Millisecond
		if w.hangs(i) { // a stop that fails is a reset
			bound += stopTimeout
		}
		if w.now-w.law.leftOver[i] > bound {
			w.fail("I9", "services are left on "+headNames[i]+", which is "+p.String())
		}
	}
}

func (w *World) anotherOwns(i int) bool {
	for j := range w.sc.Heads {
		if j != i && w.heads[j].open(w.now) {
			return true
		}
	}
	return false
}

// person is an operator who comes to a blocked cluster of two, sees to it that the other machine is off and stays so, and
// says it; if that does not help, promotes.
func (w *World) person() {
	l := &w.law
	if l.holding >= 0 {
		h := &w.heads[l.holder]
		if !h.thinks() || h.operator == (failover.Operator{}) && h.view.Memory.Phase != failover.Claim && h.view.Memory.Phase != failover.Promote {
			w.release()
		}
		return
	}
	if w.sc.Heads != 2 {
		return
	}
	for i := range 2 {
		h := &w.heads[i]
		if !h.thinks() || h.view.Memory.Phase != failover.Blocked || w.instant(i)-h.view.Memory.Since < time.Second || w.heads[1-i].power != off || l.asked[i] > 2 {
			continue
		}
		l.holding, l.holder = 1-i, i
		w.heads[1-i].heldOff = true
		l.word[i] = true
		switch l.asked[i] {
		case 0:
			h.operator.ConfirmDead = headNames[1-i]
		case 1:
			h.operator.Promote = true
		case 2:
			h.operator.Promote, h.operator.Force = true, true
			l.person[i] = true
		}
		if w.story != nil {
			w.tell(i, "a person keeps %s off and asks %+v", headNames[1-i], h.operator)
		}
		l.asked[i]++
		w.in(0, evPoke, i, h.loopGen)
		return
	}
}

func (w *World) release() {
	l := &w.law
	h := &w.heads[l.holding]
	h.heldOff = false
	if h.keepOff == 0 {
		w.powerOn(l.holding)
	}
	l.holding = -1
	w.heads[l.holder].operator = failover.Operator{}
}
