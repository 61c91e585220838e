package ethernet

import (
	"math"
	"sync"
)

// queueBytes bounds the frames that wait for one device. It is larger than the
// largest TCP window Linux offers by itself (6 MiB, tcp_rmem), so that one
// connection into a slow guest is not cut by drops, and small enough for a paused
// guest to cost little. Waiting for room instead would let one paused guest stop
// all that talk to it.
const queueBytes = 16 << 20

// queue holds the frames that wait for a device. The zero value with ready made is empty.
type queue struct {
	ready chan struct{} // one token when there may be frames

	mu     sync.Mutex
	frames []*frame
	head   int
	bytes  int
}

func newQueue() *queue { return &queue{ready: make(chan struct{}, 1)} }

// push takes over the reference when it reports true; it never blocks.
func (q *queue) push(f *frame) bool {
	q.mu.Lock()
	if q.bytes+len(f.wire) > queueBytes {
		q.mu.Unlock()
		return false
	}
	first := q.head == len(q.frames)
	q.frames = append(q.frames, f)
	q.bytes += len(f.wire)
	q.mu.Unlock()
	if first {
		q.wake()
	}
	return true
}

func (q *queue) wake() {
	select {
	case q.ready <- struct{}{}:
	default: // there is a token already
	}
}

// pop appends up to limit frames to to. Who gets none waits for ready.
func (q *queue) pop(to []*frame, limit int) []*frame {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(limit, len(q.frames)-q.head)
	for _, f := range q.frames[q.head : q.head+n] {
		q.bytes -= len(f.wire)
		to = append(to, f)
	}
	q.head += n
	if q.head == len(q.frames) {
		q.frames, q.head = q.frames[:0], 0
	} else if q.head >= 1024 && q.head*2 >= len(q.frames) {
		// Move the rest to the front before the slice grows without end.
		q.frames = q.frames[:copy(q.frames, q.frames[q.head:])]
		q.head = 0
	}
	if q.head < len(q.frames) {
		q.wake() // for another that waits
	}
	return to
}

// clear drops what waits.
func (q *queue) clear() {
	for _, f := range q.pop(nil, math.MaxInt) {
		f.release()
	}
}
