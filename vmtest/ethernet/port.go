package ethernet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
)

// ErrClosed is returned by a port that was taken off its switch.
var ErrClosed = errors.New("port is closed")

// Port is one socket of a switch with the cable and the device on it: a QEMU
// network card (Plug) or the caller, by Send and Receive (Attach).
type Port struct {
	name     string
	sw       *Switch
	transmit *lane
	receive  *lane
	waiting  *queue
	linked   atomic.Bool // something on the port takes frames
	capture  atomic.Pointer[Capture]
	filter   atomic.Pointer[Filter]
	traffic  traffic

	closing sync.Once
	closed  chan struct{}
	unplug  func() // ends what serves the device; nil for the caller's own port
}

// Filter looks at a frame as its device sends it, before cable and captures. It
// may change it in place, and returns what is sent: the frame, a part of it, or
// nil for nothing.
type Filter func(frame []byte) []byte

type traffic struct {
	sentFrames, sentBytes         atomic.Uint64
	receivedFrames, receivedBytes atomic.Uint64
	overflow, malformed           atomic.Uint64
}

// Counters are what a port has seen, in the device's view.
type Counters struct {
	SentFrames     uint64 `json:"sentFrames"`
	SentBytes      uint64 `json:"sentBytes"`
	ReceivedFrames uint64 `json:"receivedFrames"`
	ReceivedBytes  uint64 `json:"receivedBytes"`
	Lost           uint64 `json:"lost"`      // to the cable's faults
	Overflow       uint64 `json:"overflow"`  // the device did not take them in time
	Malformed      uint64 `json:"malformed"` // shorter than a header
}

// Attach adds a port that the caller uses with Send and Receive.
func (s *Switch) Attach(name string) (*Port, error) {
	p := s.newPort(name)
	p.linked.Store(true)
	if err := s.add(p); err != nil {
		return nil, err
	}
	return p, nil
}

func (s *Switch) newPort(name string) *Port {
	p := &Port{name: name, sw: s, waiting: newQueue(), closed: make(chan struct{})}
	p.transmit = newLane(s.random(name, Transmit), func(f *frame) { s.forward(p, f) })
	p.receive = newLane(s.random(name, Receive), p.arrive)
	return p
}

// Name returns the port's name, unique on its switch.
func (p *Port) Name() string { return p.name }

// Linked reports whether a device is on the port.
func (p *Port) Linked() bool { return p.linked.Load() }

// SetFaults replaces the faults of one or both directions of the cable.
func (p *Port) SetFaults(d Direction, f Faults) error {
	if err := f.Validate(); err != nil {
		return fmt.Errorf("port %s: %w", p.name, err)
	}
	for _, l := range p.lanes(d) {
		l.set(f)
	}
	return nil
}

// ChangeFaults changes the faults of one or both directions, each from what it is.
func (p *Port) ChangeFaults(d Direction, change func(*Faults)) error {
	for _, l := range p.lanes(d) {
		f := l.current()
		change(&f)
		if err := f.Validate(); err != nil {
			return fmt.Errorf("port %s: %w", p.name, err)
		}
		l.set(f)
	}
	return nil
}

// Faults returns what is set on each direction.
func (p *Port) Faults() (transmit, receive Faults) {
	return p.transmit.current(), p.receive.current()
}

func (p *Port) lanes(d Direction) []*lane {
	var lanes []*lane
	if d&Transmit != 0 {
		lanes = append(lanes, p.transmit)
	}
	if d&Receive != 0 {
		lanes = append(lanes, p.receive)
	}
	return lanes
}

// SetCapture records from now on what the device sends, before the cable's faults,
// and what reaches it, after them. nil ends it. The caller closes the capture.
func (p *Port) SetCapture(c *Capture) { p.capture.Store(c) }

// SetFilter makes each frame of the device pass through f; nil ends it.
func (p *Port) SetFilter(f Filter) {
	if f == nil {
		p.filter.Store(nil)
		return
	}
	p.filter.Store(&f)
}

// Counters returns the counts so far.
func (p *Port) Counters() Counters {
	t := &p.traffic
	return Counters{
		SentFrames:     t.sentFrames.Load(),
		SentBytes:      t.sentBytes.Load(),
		ReceivedFrames: t.receivedFrames.Load(),
		ReceivedBytes:  t.receivedBytes.Load(),
		Lost:           p.transmit.losses() + p.receive.losses(),
		Overflow:       t.overflow.Load(),
		Malformed:      t.malformed.Load(),
	}
}

// Send puts a copy of frame on the cable, as the device on the port. It does not
// block: what another port cannot take in time is lost, as on a wire.
func (p *Port) Send(frame []byte) error {
	if len(frame) < headerLen || len(frame) > MaxFrame {
		return fmt.Errorf("port %s: frame of %d bytes: want %d to %d", p.name, len(frame), headerLen, MaxFrame)
	}
	select {
	case <-p.closed:
		return fmt.Errorf("port %s: %w", p.name, ErrClosed)
	default:
	}
	p.fromDevice(frame)
	return nil
}

// Receive waits for the next frame, copies it into buffer, cut to its size, and
// returns the bytes copied. MaxFrame bytes take any frame.
func (p *Port) Receive(ctx context.Context, buffer []byte) (int, error) {
	f, err := p.next(ctx)
	if err != nil {
		return 0, err
	}
	n := copy(buffer, f.data())
	f.release()
	return n, nil
}

// next waits for a frame and hands its reference over.
func (p *Port) next(ctx context.Context) (*frame, error) {
	var one [1]*frame
	for {
		if got := p.waiting.pop(one[:0], 1); len(got) == 1 {
			return got[0], nil
		}
		select {
		case <-p.waiting.ready:
		case <-p.closed:
			return nil, fmt.Errorf("port %s: %w", p.name, ErrClosed)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Close takes the port off the switch and returns when its goroutines have ended.
func (p *Port) Close() error {
	p.closing.Do(func() {
		p.sw.remove(p)
		close(p.closed)
		p.linked.Store(false)
		if p.unplug != nil {
			p.unplug()
		}
		p.transmit.stop()
		p.receive.stop()
		p.waiting.clear()
	})
	return nil
}

// fromDevice copies b and sends it along the cable.
func (p *Port) fromDevice(b []byte) {
	if len(b) < headerLen {
		p.traffic.malformed.Add(1)
		return
	}
	f := newFrame(b)
	if filter := p.filter.Load(); filter != nil {
		filtered := (*filter)(f.data())
		if len(filtered) < headerLen || len(filtered) > MaxFrame {
			f.release()
			return
		}
		changed := newFrame(filtered)
		f.release()
		f = changed
	}
	p.send(f)
}

// send takes over the reference to f.
func (p *Port) send(f *frame) {
	p.traffic.sentFrames.Add(1)
	p.traffic.sentBytes.Add(uint64(len(f.data())))
	if c := p.capture.Load(); c != nil {
		c.record(p.name, f.data(), outbound)
	}
	p.transmit.carry(f)
}

// arrive is the end of the cable at the device.
func (p *Port) arrive(f *frame) {
	if !p.linked.Load() {
		f.release()
		return
	}
	if c := p.capture.Load(); c != nil {
		c.record(p.name, f.data(), inbound)
	}
	n := uint64(len(f.data())) // before another goroutine may release f
	if !p.waiting.push(f) {
		p.traffic.overflow.Add(1)
		f.release()
		return
	}
	p.traffic.receivedFrames.Add(1)
	p.traffic.receivedBytes.Add(n)
}

// serve moves frames between the port and a QEMU stream socket until it ends.
func (p *Port) serve(conn net.Conn) {
	p.waiting.clear() // what waited for the device before this one
	p.linked.Store(true)
	ended := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() { p.write(conn, ended) })
	p.read(conn)
	p.linked.Store(false)
	p.sw.table.forget(p)
	close(ended)
	conn.Close()
	writer.Wait()
}
