package ethernet

import (
	"container/heap"
	"math/rand/v2"
	"sync"
	"time"
)

// laneLimit bounds the frames under way in one direction of a cable, as the
// limit of tc-netem(8) does; a delayed flood must not eat the host's memory.
const laneLimit = 8192

// lane is one direction of a cable: frames go in with carry and come out, after
// what the faults do to them, at deliver, in order. deliver runs under the lane's
// lock and must not block or come back to the same lane.
type lane struct {
	deliver func(*frame)

	mu      sync.Mutex
	faults  Faults
	random  *rand.Rand
	held    inTransit
	serial  uint64    // breaks ties between equal arrival times
	last    time.Time // when the last frame that keeps its place arrives
	alarm   *time.Timer
	lost    uint64
	stopped bool
}

func newLane(random *rand.Rand, deliver func(*frame)) *lane {
	return &lane{random: random, deliver: deliver}
}

// set puts faults on the lane. Frames already under way arrive as they would have,
// unless the cable is cut: those are lost with it.
func (l *lane) set(f Faults) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = f
	if f.Cut {
		l.drop()
	}
}

func (l *lane) current() Faults {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.faults
}

func (l *lane) losses() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// carry takes over the caller's reference to f.
func (l *lane) carry(f *frame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		f.release()
		return
	}
	if l.faults == (Faults{}) && len(l.held) == 0 {
		l.deliver(f)
		return
	}
	now := time.Now()
	l.arrive(now)
	v := l.faults.judge(l.random)
	if v.copies == 0 {
		l.lost++
		f.release()
		return
	}
	for range v.copies - 1 {
		l.send(f.keep(), v, now)
	}
	l.send(f, v, now)
}

func (l *lane) send(f *frame, v fate, now time.Time) {
	at := now.Add(v.travel)
	if !v.overtake {
		if at.Before(l.last) {
			at = l.last
		}
		l.last = at
	}
	if !at.After(now) {
		l.deliver(f)
		return
	}
	if len(l.held) >= laneLimit {
		l.lost++
		f.release()
		return
	}
	l.serial++
	heap.Push(&l.held, traveller{f, at, l.serial})
	if l.held[0].serial == l.serial {
		l.wake(v.travel)
	}
}

// arrive delivers what is due, and sets the alarm for the next.
func (l *lane) arrive(now time.Time) {
	for len(l.held) > 0 && !l.held[0].at.After(now) {
		l.deliver(heap.Pop(&l.held).(traveller).frame)
	}
	if len(l.held) > 0 {
		l.wake(l.held[0].at.Sub(now))
	}
}

func (l *lane) wake(in time.Duration) {
	if l.alarm != nil {
		l.alarm.Reset(in)
		return
	}
	l.alarm = time.AfterFunc(in, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if !l.stopped {
			l.arrive(time.Now())
		}
	})
}

func (l *lane) drop() {
	for _, t := range l.held {
		l.lost++
		t.frame.release()
	}
	l.held = nil
}

// stop loses what is under way. A callback of the alarm that has begun finds the
// lane stopped.
func (l *lane) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
	if l.alarm != nil {
		l.alarm.Stop()
	}
	l.drop()
}

// traveller is a frame on its way, to arrive at a time.
type traveller struct {
	frame  *frame
	at     time.Time
	serial uint64
}

// inTransit is a heap, the next to arrive first.
type inTransit []traveller

func (h inTransit) Len() int { return len(h) }
func (h inTransit) Less(i, j int) bool {
	if !h[i].at.Equal(h[j].at) {
		return h[i].at.Before(h[j].at)
	}
	return h[i].serial < h[j].serial
}
func (h inTransit) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *inTransit) Push(x any)   { *h = append(*h, x.(traveller)) }
func (h *inTransit) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = traveller{}
	*h = old[:len(old)-1]
	return last
}
