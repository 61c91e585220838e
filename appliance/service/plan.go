package service

import (
	"slices"
	"time"

	"masthead/appliance/failover"
)

const (
	// finish is what a start gets to end by itself once it is not wanted any more: one that is killed half-way leaves more
	// behind than one that is undone.
	finish = 3 * time.Second
	// retryStop is the pause before a stop that failed is tried again.
	retryStop = 30 * time.Second
	// lost is how long after its timeout an operation must have ended, its processes having been killed: one that has not
	// hangs in the kernel.
	lost = killGrace + 5*time.Second
	// pauseFirst and pauseMost are the pause between the second failure in a row and the start after it, which doubles. The
	// first restart is at once.
	pauseFirst, pauseMost = time.Second, 30 * time.Second
	// atOnce bounds the starts under way, and the checks.
	atOnce = 16
)

// plan is what a head runs and is to run. It has no effects; the same calls give the same operations.
type plan struct {
	entries []*entry
	want    failover.Wish
	born    int
	asked   bool // want was given
	epoch   uint64
	settled bool // what is wanted has started once, or was given up, since want became Run
}

// action is an operation that is to begin.
type action struct {
	entry *entry
	part  int
	op    op
}

// set says what is to become of all services, and under which epoch. What runs from another epoch is stopped before it is
// started, unless this head has owned without interruption. It reports whether that is anything new.
func (p *plan) set(want failover.Wish, epoch uint64) bool {
	if p.asked && p.want == want && p.epoch == epoch {
		return false
	}
	kept := p.asked && p.want == failover.Run
	if want == failover.Run {
		for _, e := range p.entries {
			for i := range e.parts {
				a := &e.parts[i]
				switch {
				case kept:
					a.epoch = epoch
				case a.condition == running && !(a.ours && a.epoch == epoch):
					a.condition, a.reason, a.due = broken, "runs from an earlier epoch", 0
				}
			}
			if !kept && e.failed != "" {
				p.clear(e)
			}
		}
		p.settled = p.settled && kept
	}
	p.want, p.epoch, p.asked = want, epoch, true
	return true
}

// wish says what is wished for one service.
func (p *plan) wish(e *entry, wish string) {
	if wish == "" {
		wish = Enabled
		if e.service.Autostart != nil && !*e.service.Autostart {
			wish = Disabled
		}
	}
	if wish == e.wish {
		return
	}
	e.wish = wish
	p.clear(e)
}

// clear gives a service that was given up a new chance.
func (p *plan) clear(e *entry) { e.failed, e.leave, e.failures, e.pause = "", false, nil, 0 }

// next gives the operations to begin now; they count as under way.
func (p *plan) next(now failover.Instant) (list []action) {
	p.sweep()
	ready := p.ready()
	checks, starts := p.under(check), p.under(start)
	begin := func(e *entry, i int, o op) {
		a := &e.parts[i]
		a.busy, a.began, a.unwanted, a.told = o, now, 0, false
		a.deadline = now + e.service.Resources[i].limit(o) + lost
		switch {
		case o == start:
			a.ours, a.epoch = true, p.epoch
		case o == stop && a.condition == running:
			a.condition = broken // whatever is wished next: it is being stopped
		}
		list = append(list, action{e, i, o})
	}
	for _, e := range p.entries {
		if !e.known() {
			if p.predecessor(e) {
				continue
			}
			for i := range e.parts {
				if a := &e.parts[i]; a.condition == unknown && a.busy == none && a.due <= now && checks < atOnce {
					checks++
					begin(e, i, check)
				}
			}
			continue
		}
		if p.asked && (p.want == failover.Stop || p.dependenciesKnown(e)) {
			if i, o := p.step(e, ready[e], now); o == stop || o == start && starts < atOnce {
				if o == start {
					starts++
				}
				begin(e, i, o)
			}
		}
		for i := range e.parts {
			a := &e.parts[i]
			if a.condition == running && a.busy == none && a.every > 0 && a.due <= now && p.asked && ready[e] && checks < atOnce {
				checks++
				begin(e, i, check)
			}
		}
	}
	p.note(now, ready)
	return list
}

// step is the one operation, other than a check, that brings a service nearer to what is wanted.
func (p *plan) step(e *entry, ready bool, now failover.Instant) (int, op) {
	// first is the resource from which on all must be stopped.
	first := 0
	if ready {
		for first < len(e.parts) && e.parts[first].condition == running {
			first++
		}
	}
	for i := len(e.parts) - 1; i >= first; i-- {
		a := &e.parts[i]
		if a.busy != none {
			return 0, none // the check is broken off, the start ends or is, the stop ends
		}
		if a.condition == stopped {
			continue
		}
		if !p.dependentsStopped(e) || a.condition != running && a.due > now {
			return 0, none
		}
		return i, stop
	}
	if ready && first < len(e.parts) && e.pause <= now && p.dependentsStopped(e) {
		return first, start
	}
	return 0, none
}

// breakOff gives the operations under way that are to be ended before their time; each once.
func (p *plan) breakOff(now failover.Instant) (list []action) {
	ready := p.ready()
	for _, e := range p.entries {
		if !e.known() || !p.asked {
			continue
		}
		first := p.firstDown(e, ready[e])
		for i := range e.parts {
			a := &e.parts[i]
			if a.told || i < first {
				continue
			}
			switch a.busy {
			case check:
			case start:
				if ready[e] && i == first {
					a.unwanted = 0
					continue
				}
				if a.unwanted == 0 {
					a.unwanted = max(now, 1)
				}
				if now < a.unwanted+finish {
					continue
				}
			default:
				continue
			}
			a.told = true
			a.deadline = min(a.deadline, now+lost)
			list = append(list, action{e, i, a.busy})
		}
	}
	return list
}

// firstDown is the first resource that does not run, or that is not to.
func (p *plan) firstDown(e *entry, ready bool) int {
	if !ready {
		return 0
	}
	i := slices.IndexFunc(e.parts, func(a part) bool { return a.condition != running })
	if i < 0 {
		return len(e.parts)
	}
	return i
}

// wake is when time alone changes what next, breakOff or services say; false: never.
func (p *plan) wake(now failover.Instant) (at failover.Instant, ok bool) {
	soon := func(t failover.Instant) {
		if t > now && (!ok || t < at) {
			at, ok = t, true
		}
	}
	for _, e := range p.entries {
		soon(e.pause)
		for i := range e.parts {
			a := &e.parts[i]
			switch {
			case a.busy != none:
				soon(a.deadline)
				if a.unwanted != 0 {
					soon(a.unwanted + finish)
				}
			case a.condition != stopped:
				soon(a.due)
			}
		}
	}
	return at, ok
}

// under counts the operations of that kind under way.
func (p *plan) under(o op) (n int) {
	for _, e := range p.entries {
		for i := range e.parts {
			if e.parts[i].busy == o {
				n++
			}
		}
	}
	return n
}

// sweep forgets services that are gone from the configuration and from this machine.
func (p *plan) sweep() {
	p.entries = slices.DeleteFunc(p.entries, func(e *entry) bool { return e.retired && e.down() })
}
