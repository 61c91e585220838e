package dhcp

import (
	"context"
	"net/netip"
	"sync"
)

// memory is a Registry and a Store that keep their promises except the durable one.
type memory struct {
	mu           sync.Mutex
	reservations map[MAC]Reservation
	leases       map[netip.Addr]Lease
	fail         error                 // what Commit returns, if set
	apart        bool                  // not all heads answer
	others       func(netip.Addr) bool // what a head that does not answer gives away; nil: nothing
}

func newMemory() *memory {
	return &memory{reservations: map[MAC]Reservation{}, leases: map[netip.Addr]Lease{}}
}

func (m *memory) Reservation(mac MAC) (Reservation, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.reservations[mac]
	return r, ok
}

func (m *memory) ReservedBy(ip netip.Addr) (MAC, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for mac, r := range m.reservations {
		if r.IP == ip {
			return mac, true
		}
	}
	return MAC{}, false
}

func (m *memory) Gives(ip netip.Addr) bool { return m.others == nil || !m.others(ip) }

func (m *memory) Whole() bool { return !m.apart }

func (m *memory) LeaseByIP(ip netip.Addr) (Lease, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, ok := m.leases[ip]
	return l, ok
}

func (m *memory) LeaseByMAC(mac MAC) (Lease, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.byMAC(mac)
}

func (m *memory) byMAC(mac MAC) (Lease, bool) {
	for _, l := range m.leases {
		if l.MAC == mac && mac != (MAC{}) {
			return l, true
		}
	}
	return Lease{}, false
}

func (m *memory) Commit(_ context.Context, l Lease) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	if old, ok := m.leases[l.IP]; ok && !l.MayReplace(old) {
		return ErrTaken
	}
	if old, ok := m.byMAC(l.MAC); ok {
		delete(m.leases, old.IP)
	}
	m.leases[l.IP] = l
	return nil
}
