package agent

import (
	"sync"

	"masthead/node/wire"
)

// outletChunk is how much output goes into one frame: encoded, it is well below wire.MaxMachineFrame.
const outletChunk = 32 << 10

// outlet hands the output of a command on to the head, no more at a time than the head has room for: a command whose
// output nobody takes waits, as it does at a full pipe.
type outlet struct {
	id   string
	send func(wire.Frame) error

	mu     sync.Mutex
	room   *sync.Cond // room, closed
	window int64
	left   int64 // bytes that are still handed on
	cut    bool  // there were more
	closed bool  // nobody takes any more
}

func newOutlet(id string, most int64, send func(wire.Frame) error) *outlet {
	o := &outlet{id: id, send: send, window: wire.CommandWindow, left: most}
	o.room = sync.NewCond(&o.mu)
	return o
}

// stdout and stderr write to it.
func (o *outlet) stdout(p []byte) { o.write(p, false) }
func (o *outlet) stderr(p []byte) { o.write(p, true) }

// write hands p on, or drops what is beyond the limit. It blocks until there is room or the outlet is closed.
func (o *outlet) write(p []byte, isErr bool) {
	for len(p) > 0 {
		chunk := p[:min(len(p), outletChunk)]
		p = p[len(chunk):]
		f := wire.Frame{Kind: wire.FrameOutput, ID: o.id, Stdout: chunk}
		if isErr {
			f.Stdout, f.Stderr = nil, chunk
		}
		if !o.admit(&f) {
			continue // drained all the same, so that the command does not wait for ever
		}
		if o.send(f) != nil {
			o.close()
		}
	}
}

// admit waits for room for a frame, and cuts it to what may still be handed on. It reports whether anything is left.
func (o *outlet) admit(f *wire.Frame) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.closed && o.left > 0 && o.window < f.Cost() {
		o.room.Wait()
	}
	n := int64(len(f.Stdout) + len(f.Stderr))
	if n > o.left {
		o.cut = true
		f.Stdout, f.Stderr = f.Stdout[:min(int64(len(f.Stdout)), o.left)], f.Stderr[:min(int64(len(f.Stderr)), o.left)]
		n = o.left
	}
	if o.closed || n == 0 {
		return false
	}
	o.left -= n
	o.window -= f.Cost()
	return true
}

func (o *outlet) grant(n int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.window = min(o.window+max(n, 0), wire.CommandWindow)
	o.room.Broadcast()
}

func (o *outlet) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.room.Broadcast()
}

func (o *outlet) truncated() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.cut
}
