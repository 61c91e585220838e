package simulation

import "time"

// kind is what happens at an event.
type kind uint8

const (
	evTick     kind = iota // the daemon looks at everything
	evPoke                 // the daemon is told that something changed
	evBeat                 // the daemon sends heartbeats
	evHeard                // a heartbeat arrives
	evDisk                 // a write of the record ends
	evServices             // services have started or stopped
	evFence                // a fencing device answers
	evOff                  // a fencing device takes the power away
	evProbe                // a round of ARP probes ends
	evRenew                // the arbiter asks the voters
	evAnswer               // a voter's answer arrives
	evRaft                 // a node of the consensus looks at its timers
	evUplink               // the way to the gateway is measured
	evBoot                 // a machine has booted
	evStart                // the daemon starts
	evWatchdog             // the watchdog was not fed
	evData                 // the data engines look at one another
	evSeen                 // the daemon is told how its copy stands
	evAsk                  // the data engine's handler asks the daemon
	evFenced               // and has its answer
	evStep                 // a command to the data engine ends
	evSplit                // the data engine tells that both copies were written to
	evFault                // a fault begins
	evHeal                 // and ends
	evFlap                 // a flapping link changes
	evStorm                // the daemon is killed again
	evCheck                // what must be so for a while is looked at
)

// event is one thing that will happen. gen is that of the machine or the daemon for which it was made: an event of one
// that is gone does not happen.
type event struct {
	at   time.Duration
	seq  uint32
	gen  uint32
	x    int64  // evHeard: when it was sent; evAnswer: what was answered; evFenced: the exit code; else the number of the fault
	ver  uint32 // evHeard: which of the sender's words
	kind kind
	head uint8
	from uint8
	link uint8
	mask uint8 // evHeard: the links on which the sender hears
}

const queueLen = 448

// queue holds what will happen, the next first: a binary heap in an array, so that a world can be copied.
type queue struct {
	n   int
	seq uint32
	a   [queueLen]event
}

func before(a, b *event) bool { return a.at < b.at || a.at == b.at && a.seq < b.seq }

// push adds an event; false: there is no room for it.
func (q *queue) push(e event) bool {
	if q.n == queueLen {
		return false
	}
	q.seq++
	e.seq = q.seq
	i := q.n
	q.n++
	for i > 0 {
		up := (i - 1) / 2
		if !before(&e, &q.a[up]) {
			break
		}
		q.a[i] = q.a[up]
		i = up
	}
	q.a[i] = e
	return true
}

// pop takes the next event; there must be one.
func (q *queue) pop() event {
	top := q.a[0]
	q.n--
	last := q.a[q.n]
	i := 0
	for {
		down := 2*i + 1
		if down >= q.n {
			break
		}
		if down+1 < q.n && before(&q.a[down+1], &q.a[down]) {
			down++
		}
		if !before(&q.a[down], &last) {
			break
		}
		q.a[i] = q.a[down]
		i = down
	}
	q.a[i] = last
	return top
}
