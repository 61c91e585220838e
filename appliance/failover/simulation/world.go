package simulation

import (
	"time"

	"masthead/appliance/failover"
)

// Decide is failover.Decide, or a mutant of it.
type Decide func(failover.View, failover.Instant) failover.Decision

// World is a cluster. It is one value, so that a cluster which has an owner can be copied, and need not be booted for each
// run. All times of it are true ones, which no head can read.
type World struct {
	sc       Scenario
	policy   failover.Policy
	decide   Decide
	schedule Schedule
	rnd      source
	now      time.Duration
	begin    time.Duration // when the schedule began
	queue    queue
	heads    [maxHeads]head
	wits     [maxWitnesses]voting
	letters  [128]letter // answers of voters under way
	lettered int
	net      network
	on       [maxFaults]bool // faults that are on
	flapped  [maxFaults]bool
	healed   time.Duration // when the last fault began or ended
	started  int           // faults that have begun
	left     int           // faults that will begin or end yet
	foreign  bool
	data     replica
	law      law
	raft     consensus
	done     bool
	lost     int // events for which there was no room
	hash     uint64
	steps    uint64 // decisions
	failure  Failure
	story    *story // nil: nobody listens
}

// Failure is a promise that was not kept.
type Failure struct {
	Invariant string // I1 to I12, or what else; empty: all were kept
	Text      string
	At        time.Duration // since the schedule began
}

// fail ends the run. Only the first failure counts.
func (w *World) fail(invariant, text string) {
	if w.failure.Invariant == "" {
		w.failure = Failure{Invariant: invariant, Text: text, At: w.now - w.begin}
	}
	w.done = true
}

// in is an event of a head's machine after a while.
func (w *World) in(d time.Duration, k kind, head int, gen uint32) {
	w.post(event{at: w.now + d, kind: k, head: uint8(head), gen: gen})
}

func (w *World) post(e event) {
	if !w.queue.push(e) {
		w.lost++ // as a full socket buffer; all but heartbeats and answers have their room: see room
	}
}

// room says whether there is room for something that may get lost.
func (w *World) room() bool { return w.queue.n < queueLen-64 }

// play runs until the schedule is over, or a promise is broken.
func (w *World) play(until time.Duration) {
	for !w.done && w.queue.n > 0 {
		if w.queue.a[0].at > until {
			return
		}
		e := w.queue.pop()
		w.now = e.at
		w.hash = (w.hash ^ uint64(e.at)<<8 ^ uint64(e.kind)<<4 ^ uint64(e.head)) * 0x100000001b3
		w.happen(&e)
	}
}

func (w *World) happen(e *event) {
	i := int(e.head)
	h := &w.heads[i]
	switch e.kind {
	case evTick:
		if h.current(e) {
			w.tick(i)
		}
	case evPoke:
		if h.current(e) {
			w.step(i)
		}
	case evBeat:
		if h.current(e) {
			w.beat(i)
		}
	case evRenew:
		if h.current(e) {
			w.renew(i)
		}
	case evProbe:
		if h.current(e) {
			w.probed(i)
		}
	case evUplink:
		if h.current(e) {
			w.measure(i)
		}
	case evRaft:
		if h.current(e) {
			w.raftTend(i)
		}
	case evHeard:
		w.arrive(e)
	case evAnswer:
		w.answer(e)
	case evDisk:
		if h.machineGen == e.gen {
			w.written(i)
		}
	case evServices:
		if h.services.gen == e.gen {
			w.servicesDone(i)
		}
	case evFence:
		if h.fence.gen == e.gen {
			w.fenceDone(i)
		}
	case evOff:
		w.fencedOff(i, int(e.from))
	case evBoot:
		if h.machineGen == e.gen {
			w.booted(i)
		}
	case evStart:
		if h.daemonGen == e.gen && h.power == up && !h.paused {
			w.startDaemon(i)
		} else if h.daemonGen == e.gen && h.power == up {
			w.in(50*time.Millisecond, evStart, i, e.gen) // paused: its timers stand
		}
	case evWatchdog:
		w.watchdog(i, e.gen)
	case evData:
		w.dataTick()
	case evSeen:
		if h.daemonGen == e.gen && h.power == up && h.running {
			if h.thinks() {
				w.seen(i)
			} else {
				w.in(20*time.Millisecond, evSeen, i, e.gen) // it lies in the pipe
			}
		}
	case evAsk:
		w.askData(i, e.gen)
	case evFenced:
		if s := &w.data.side[i]; s.asks.on && s.asks.gen == e.gen {
			w.fencedPeer(i, int(e.x))
		}
	case evStep:
		if h.machineGen == e.gen && h.power == up {
			if h.paused {
				w.in(20*time.Millisecond, evStep, i, e.gen)
			} else {
				w.stepEnds(i)
			}
		}
	case evSplit:
		if h.machineGen == e.gen && h.thinks() {
			k := &w.data.side[i].keeper
			k.look = k.look.Found(w.instant(i))
			w.in(0, evPoke, i, h.loopGen)
		}
	case evFault:
		w.fault(int(e.x))
	case evHeal:
		w.heal(int(e.x))
	case evFlap:
		w.flap(int(e.x))
	case evStorm:
		w.storm(e)
	case evCheck:
		w.check()
	}
}
