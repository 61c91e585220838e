package ethernet

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Switch is one Ethernet segment. All methods may be called at any time, by any
// goroutine.
type Switch struct {
	name    string
	seed    uint64
	table   table
	capture atomic.Pointer[Capture]

	mu     sync.RWMutex
	ports  []*Port
	closed bool
}

// NewSwitch returns a switch without ports. Equal seeds and port names draw the
// same faults for the same frames.
func NewSwitch(name string, seed uint64) *Switch {
	return &Switch{name: name, seed: seed}
}

// Name returns the name given to NewSwitch.
func (s *Switch) Name() string { return s.name }

// Ports returns the ports in the order they were added.
func (s *Switch) Ports() []*Port {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.ports)
}

// Port returns the port of that name, nil without one.
func (s *Switch) Port(name string) *Port {
	for _, p := range s.Ports() {
		if p.name == name {
			return p
		}
	}
	return nil
}

// SetCapture records each frame that the switch accepts from now on, once, under
// the name of the port it came from: after the faults on the way in, before those
// on the way out. nil ends it. The caller closes the capture.
func (s *Switch) SetCapture(c *Capture) { s.capture.Store(c) }

// Close takes all ports off and returns when their goroutines have ended.
func (s *Switch) Close() error {
	s.mu.Lock()
	s.closed = true
	ports := slices.Clone(s.ports)
	s.mu.Unlock()
	for _, p := range ports {
		p.Close()
	}
	return nil
}

func (s *Switch) add(p *Port) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("switch %s is closed", s.name)
	}
	for _, other := range s.ports {
		if other.name == p.name {
			return fmt.Errorf("switch %s has a port %s already", s.name, p.name)
		}
	}
	s.ports = append(s.ports, p)
	return nil
}

func (s *Switch) remove(p *Port) {
	s.mu.Lock()
	s.ports = slices.DeleteFunc(s.ports, func(other *Port) bool { return other == p })
	s.mu.Unlock()
	s.table.forget(p)
}

// forward takes over the caller's reference to f, of at least headerLen bytes.
func (s *Switch) forward(from *Port, f *frame) {
	defer f.release()
	if c := s.capture.Load(); c != nil {
		c.record(from.name, f.data(), unknownWay)
	}
	now := time.Now()
	s.table.learn(f.source(), from, now)
	if to := f.destination(); !to.group() {
		if port := s.table.lookup(to, now); port != nil {
			if port != from {
				port.receive.carry(f.keep())
			}
			return
		}
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, port := range s.ports {
		if port != from {
			port.receive.carry(f.keep())
		}
	}
}

// random returns the generator for one direction of a port's cable.
func (s *Switch) random(port string, d Direction) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %s %s", s.name, port, d)
	return rand.New(rand.NewPCG(s.seed, h.Sum64()))
}
