package simulation

import (
	"time"

	"masthead/appliance/failover"
)

// law is what is watched, with true times that no head can read.
type law struct {
	resumed  [maxHeads]time.Duration // a paused machine went on
	answered [maxHeads]time.Duration // a probe of this head was answered
	before   [maxHeads]time.Duration // and the round before that
	word     [maxHeads]bool          // a person has told this head that the other one is off
	person   [maxHeads]bool          // a person has accepted that writes of the other head are lost
	both     time.Duration           // two open gates that are excused are both open since
	end      time.Duration           // two open gates that are excused must be one by then; 0: none are
	power    time.Duration           // a machine went off or on
	fences   int                     // machines that were running and were fenced
	owners   int                     // epochs that have acted beyond the first
	acting   failover.Epoch          // the highest of them
	moved    time.Duration           // from the last fault to the opening of the gate by a new owner
	first    failover.Epoch          // of the owner at the beginning
	ownerAt  time.Duration           // somebody serves since; negative: nobody
	fineAt   time.Duration           // all is as it should be since; negative: it is not
	blockAt  time.Duration           // somebody is blocked, and a person was told, since; negative: nobody
	leftOver [maxHeads]time.Duration // services are left on a head that does not own since; 0: none
	stuck    [maxHeads]time.Duration // writes wait though the word is given, and nobody asks for it, since; 0: they do not
	unlucky  bool                    // loss took every answer that the owner's consensus asked for, until it stepped down
	taken    bool                    // and its lease ended
	holding  int                     // the head that a person keeps off; -1: none
	holder   int                     // for which head
	asked    [2]int                  // what the person has tried there
}

// gateOpened checks I1 whenever a gate is opened or refreshed, or a machine with an open gate goes on.
func (w *World) gateOpened(i int) {
	h := &w.heads[i]
	if !h.open(w.now) {
		return
	}
	for j := range w.sc.Heads {
		o := &w.heads[j]
		if j == i || !o.open(w.now) {
			continue
		}
		if w.excused(i, j) {
			continue
		}
		w.fail("I1", "the gates of "+headNames[i]+" (epoch "+h.gateEpoch.String()+") and "+headNames[j]+" (epoch "+o.gateEpoch.String()+") are both open")
	}
}

// excused says whether the specification accepts that both act: for the rest of a lease after a paused machine goes on, and
// with the policy available while nothing at all of the other is to be heard.
func (w *World) excused(i, j int) bool {
	t := w.policy.Timing
	available := w.sc.Kind == failover.Pair && w.sc.Loss == failover.Available && !w.sc.Fencing
	for _, k := range [...]int{i, j} {
		if w.now-w.law.resumed[k] <= t.TTL {
			return true
		}
		if available && w.now-w.law.resumed[k] <= t.TTL+time.Second {
			return true // it hears nothing of the other, which hears it and has to give way
		}
	}
	if !available {
		return false
	}
	low, high := i, j
	if w.heads[i].gateEpoch > w.heads[j].gateEpoch {
		low, high = j, i
	}
	if w.law.end == 0 {
		// The later one has heard nothing for so long, and no kernel answered it, or there is no way between them (an owner
		// that has stood still looks for a shorter time); the earlier one does not know of the later.
		alone := low == i || w.alone(high, low) || w.net.apart(w.sc, high, low) // it was alone when it opened
		if !alone || w.knows(low, high) {
			return false
		}
		w.law.end, w.law.both = w.now+time.Hour, w.now
	}
	if w.now > w.law.end && w.alone(high, low) && !w.knows(low, high) {
		w.law.end, w.law.both = w.now+time.Hour, w.now // what was heard for a moment is silent again: it is the same cut
	}
	return w.now <= w.law.end
}

// alone says whether a head of a pair truly can see nothing of the other one, which the policy available takes for its death.
func (w *World) alone(i, j int) bool {
	t := w.policy.Timing
	f := &w.heads[i].from[j]
	last := f.any
	if w.now-last < reaction {
		last = f.before
	}
	answered := w.law.answered[i]
	if w.now-answered < reaction {
		answered = w.law.before[i]
	}
	return w.now-last >= t.Silence-2*time.Millisecond && w.now-answered >= time.Duration(t.Probes-1)*t.ProbeEvery
}

// knows says whether a head has heard another one since that opened its gate, and had the time to heed it.
func (w *World) knows(i, j int) bool {
	f := &w.heads[i].from[j]
	return f.knownGate == w.heads[j].gateAt && w.now-f.knownAt >= reaction
}

// reaction is what may pass from a decision to what is done: what comes in meanwhile is heeded by the next one.
const reaction = 20 * time.Millisecond

// heard: once the one with the older epoch has heard the other, two are one within a moment; if only the other way works,
// within a second.
func (l *law) heard(w *World, e *event) {
	i, j := int(e.head), int(e.from)
	if l.end == 0 || time.Duration(e.x) < l.both {
		return
	}
	limit := time.Second
	if w.heads[i].gateEpoch < w.heads[j].gateEpoch {
		limit = 200 * time.Millisecond
		if w.heads[i].disk.writing { // its loop waits for a slow disk: its gate shuts by itself
			limit = max(limit, w.policy.Timing.Gate+reaction)
		}
	}
	l.end = min(l.end, w.now+limit)
}

// restarted: what the daemon of the later owner had heard of the other one is gone, and it begins anew to find out that both act.
func (l *law) restarted(w *World, i int) {
	if l.end != 0 && w.heads[i].open(w.now) && w.heads[i].gateEpoch > w.heads[1-i].gateEpoch { // of a pair
		l.end = max(l.end, w.now+time.Second)
	}
}

// performed checks each decision. What a head says of itself is true: another one acts on it. And R1 and I3: a gate is
// opened only for the epoch that is on the disk as this head's own, and no longer than the lease that the arbiter truly
// gave, or than the kernel would have kept it open anyhow.
func (w *World) performed(i int, d *failover.Decision) {
	h := &w.heads[i]
	if s := &d.Say; (s.Released != 0 || s.Yields != 0) && (h.services.state != failover.ServicesStopped || h.open(w.now)) {
		w.fail("I9", headNames[i]+" says that it holds nothing, and its services are "+h.services.state.String())
	}
	if h.quit && !d.Memory.Phase.Holds() && d.Services == failover.Stop && h.services.state == failover.ServicesStopped && !d.Gate.Open {
		w.quit(i)
		return
	}
	if !d.Gate.Open {
		return
	}
	g, r := d.Gate, h.disk.record
	switch {
	case r.Epoch != g.Epoch || r.Owner != headNames[i]:
		w.fail("R1", headNames[i]+" acts for epoch "+g.Epoch.String()+" but its disk says "+r.Epoch.String()+" of "+r.Owner)
	case g.Epoch.Head() != i:
		w.fail("I3", headNames[i]+" acts under the epoch of another head")
	case (w.sc.Kind == failover.Panel || w.sc.Kind == failover.Raft) && (h.leased != g.Epoch || g.Until > h.leaseEnd) && g.Until > h.gateWas && !w.law.word[i]:
		w.fail("R1", headNames[i]+" opens its gate for longer than its lease")
	case g.Until > w.instant(i)+w.policy.Timing.Gate:
		w.fail("R1", headNames[i]+" opens its gate for longer than Timing.Gate")
	case w.sc.Harmless && (i != 0 || g.Epoch != w.law.first):
		w.moved(headNames[i] + " takes over under epoch " + g.Epoch.String() + " though the owner is healthy")
	}
	if g.Epoch > w.law.acting {
		w.law.acting, w.law.moved = g.Epoch, w.now-w.healed
		w.law.owners++
	}
	w.gateOpened(i)
}

// moved is a break of I7. An owner that loss has kept from every other head until the consensus had it give up was not
// healthy: three rounds that all fail are rare at a loss of 10 %, and Decide can do nothing about them. They are counted.
func (w *World) moved(text string) {
	if w.law.unlucky {
		w.law.taken, w.done = true, true
		return
	}
	w.fail("I7", text)
}

// lossy says whether the schedule has loss in it.
func (w *World) lossy() bool {
	for k := range w.schedule.N {
		if w.schedule.Faults[k].What == Lossy {
			return true
		}
	}
	return false
}

// servicesChanged checks I9 when services begin to start: they run nowhere else, unless the daemon there stood still.
func (w *World) servicesChanged(i int) {
	for j := range w.sc.Heads {
		o := &w.heads[j]
		if j == i || !o.alive() || o.services.state == failover.ServicesStopped {
			continue
		}
		if !o.thinks() || o.starved > 0 || w.now-o.troubled < 500*time.Millisecond || w.law.person[i] {
			continue
		}
		if o.disk.writing {
			continue // its loop waits for a slow disk, as one that stood still
		}
		if w.now-max(w.law.resumed[i], w.law.resumed[j]) <= w.policy.Timing.TTL {
			continue // the rest of the lease of a machine that was paused
		}
		if w.sc.Kind == failover.Pair && w.sc.Loss == failover.Available && !w.sc.Fencing && w.alone(i, j) {
			continue // the exception of I1
		}
		if p := o.view.Memory.Phase; p != failover.Promote && p != failover.Active && o.services.state == failover.ServicesStopping {
			// It has lost its lease, or was killed and lost it meanwhile, and stops in order, which Timing.StopWithin bounds:
			// the gate is shut and the data fenced off, so that what still runs there has no effect. See leftovers for the bound.
			continue
		}
		w.fail("I9", "services start on "+headNames[i]+" and are "+o.services.state.String()+" on "+headNames[j])
	}
}

// writers checks I2: no exception.
func (l *law) writers(w *World) {
	if w.sc.Data && w.writes(0) && w.writes(1) {
		w.fail("I2", "both heads complete writes")
	}
}

// fencing checks I11 when a fencing begins: its target was silent.
func (l *law) fencing(w *World, i, j int) {
	if since := w.now - w.heads[i].from[j].any; since < w.policy.Timing.Suspect-2*time.Millisecond && w.heads[i].from[j].any >= 0 {
		w.fail("I11", headNames[i]+" fences "+headNames[j]+", which it heard "+since.String()+" ago")
	}
}

// fenced counts machines that were taken down.
func (l *law) fenced(w *World, i, j int) {
	if w.heads[j].power == off {
		return
	}
	l.fences++
	if l.fences > 2*w.started+1 {
		w.fail("I11", "fencing loop: "+headNames[j]+" is fenced again by "+headNames[i])
	}
}
