package serial

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"masthead/vmtest/plug"
)

// Faults are what one direction of a cable does to its bytes. The zero value is a
// good cable as fast as the machines.
type Faults struct {
	Cut    bool    `json:"cut,omitempty"`    // nothing passes
	Garble float64 `json:"garble,omitempty"` // percent of the bytes that arrive as another byte
	Baud   int     `json:"baud,omitempty"`   // bits per second, ten to a byte (8N1); 0 is no limit
}

// Validate reports what cannot be.
func (f Faults) Validate() error {
	if !(f.Garble >= 0 && f.Garble <= 100) {
		return fmt.Errorf("garble %v%%: want 0 to 100", f.Garble)
	}
	if f.Baud < 0 {
		return fmt.Errorf("baud %d: want 0 or more", f.Baud)
	}
	return nil
}

// garble changes some of b in place. It draws as many numbers for any setting, so
// that one seed spoils the same bytes.
func (f Faults) garble(b []byte, random *rand.Rand) {
	for i := range b {
		hit := random.Float64()*100 < f.Garble
		flip := byte(1 + random.IntN(255)) // never 0, which would change nothing
		if hit {
			b[i] ^= flip
		}
	}
}

// travel is how long n bytes take.
func (f Faults) travel(n int) time.Duration {
	if f.Baud == 0 {
		return 0
	}
	return time.Duration(n) * 10 * time.Second / time.Duration(f.Baud)
}

// portion is how many bytes to move at once, so that a slow cable drips instead of
// holding a second's worth back.
func (f Faults) portion(most int) int {
	if f.Baud == 0 {
		return most
	}
	const perSecond = 50
	return min(most, max(1, f.Baud/10/perSecond))
}

// Cable is a null-modem cable between two machines. All methods may be called at
// any time, by any goroutine.
type Cable struct {
	a, b *end
	done chan struct{}
	once sync.Once
}

// end is a machine's serial port with the wire that leads away from it.
type end struct {
	cable  *Cable
	other  *end
	random *rand.Rand // of the goroutine that serves the port
	socket *plug.Socket

	mu     sync.Mutex
	conn   net.Conn
	faults Faults
}

// stalled bounds the wait for a machine that does not read its port, a paused one
// for instance: on a wire without flow control its bytes are lost.
const stalled = 100 * time.Millisecond

// ListenCable lays a cable between the machines that connect at pathA and pathB.
// Equal seeds garble the same bytes.
func ListenCable(pathA, pathB string, seed uint64) (*Cable, error) {
	c := &Cable{done: make(chan struct{})}
	c.a = &end{cable: c, random: rand.New(rand.NewPCG(seed, 0))}
	c.b = &end{cable: c, random: rand.New(rand.NewPCG(seed, 1))}
	c.a.other, c.b.other = c.b, c.a
	var err error
	if c.a.socket, err = plug.Listen(pathA, c.a.serve); err != nil {
		return nil, fmt.Errorf("serial cable: %w", err)
	}
	if c.b.socket, err = plug.Listen(pathB, c.b.serve); err != nil {
		return nil, errors.Join(fmt.Errorf("serial cable: %w", err), c.a.socket.Close())
	}
	return c, nil
}

// SetFromA replaces the faults of the direction from A to B.
func (c *Cable) SetFromA(f Faults) error { return c.a.set(f) }

// SetFromB replaces the faults of the direction from B to A.
func (c *Cable) SetFromB(f Faults) error { return c.b.set(f) }

// Faults returns what is set on each direction.
func (c *Cable) Faults() (fromA, fromB Faults) { return c.a.current(), c.b.current() }

// Close takes the cable away and returns when its goroutines have ended.
func (c *Cable) Close() error {
	c.once.Do(func() { close(c.done) })
	return errors.Join(c.a.socket.Close(), c.b.socket.Close())
}

func (e *end) set(f Faults) error {
	if err := f.Validate(); err != nil {
		return fmt.Errorf("serial cable: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.faults = f
	return nil
}

func (e *end) current() Faults {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.faults
}

// plugged makes conn the machine at this end; nil is nobody.
func (e *end) plugged(conn net.Conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.conn = conn
}

// serve carries what the machine at this end sends to the other, until it is off.
func (e *end) serve(conn net.Conn) {
	e.plugged(conn)
	defer e.plugged(nil)
	buffer := make([]byte, 4096)
	for {
		n, err := conn.Read(buffer[:e.current().portion(len(buffer))])
		if n > 0 && !e.carry(buffer[:n]) {
			return
		}
		if err != nil {
			return
		}
	}
}

// carry reports false when the cable is closed.
func (e *end) carry(b []byte) bool {
	f := e.current()
	f.garble(b, e.random)
	if wait := f.travel(len(b)); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-e.cable.done:
			return false
		}
	}
	if !e.current().Cut { // asked again: it may have been cut meanwhile
		e.other.take(b)
	}
	return true
}

// take gives b to the machine at this end. What it does not take, and what comes
// while nobody is there, is lost.
func (e *end) take(b []byte) {
	e.mu.Lock()
	conn := e.conn
	e.mu.Unlock()
	if conn == nil {
		return
	}
	conn.SetWriteDeadline(time.Now().Add(stalled))
	_, _ = conn.Write(b)
}
