package registry

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"masthead/appliance/state"
)

// ErrTaken is a lease of an address that another machine holds.
var ErrTaken = errors.New("the address is held by another machine")

// Lease is one address that DHCP gave, or keeps away from machines. Its words are the DHCP server's.
type Lease struct {
	IP       netip.Addr `json:"-"`
	MAC      string     `json:"mac,omitempty"` // empty: nobody may have it
	State    string     `json:"state"`
	Renewed  time.Time  `json:"renewed"`
	Expires  time.Time  `json:"expires"`
	ClientID string     `json:"client_id,omitempty"`
	UUID     string     `json:"uuid,omitempty"`
	Hostname string     `json:"hostname,omitempty"`
	Cause    string     `json:"cause,omitempty"`
}

// leaseBook is all leases in memory, at most one for each address and for each MAC.
type leaseBook struct {
	byIP  map[netip.Addr]leaseEntry
	byMAC map[string]netip.Addr
	// writing keeps changes of one machine apart, so that it never has two addresses, while those of others share the
	// disk's syncs.
	writing *[64]sync.Mutex
	seed    maphash.Seed
}

type leaseEntry struct {
	Lease
	version state.Version
}

func newLeaseBook() leaseBook {
	return leaseBook{byIP: map[netip.Addr]leaseEntry{}, byMAC: map[string]netip.Addr{}, writing: new([64]sync.Mutex), seed: maphash.MakeSeed()}
}

func (b *leaseBook) take(rec state.Record) error {
	ip, err := netip.ParseAddr(rec.Key.Name)
	if err != nil {
		return fmt.Errorf("lease of %q: %w", rec.Key.Name, err)
	}
	old, known := b.byIP[ip]
	if known && old.version.Compare(rec.Version) >= 0 {
		return nil
	}
	if known && b.byMAC[old.MAC] == ip {
		delete(b.byMAC, old.MAC)
	}
	if rec.Deleted {
		delete(b.byIP, ip)
		return nil
	}
	l, err := state.Decode[Lease](rec)
	if err != nil {
		return err
	}
	l.IP = ip
	b.byIP[ip] = leaseEntry{l, rec.Version}
	if l.MAC != "" {
		b.byMAC[l.MAC] = ip
	}
	return nil
}

// LeaseByIP gives the lease of an address, also one that has expired.
func (r *Registry) LeaseByIP(ip netip.Addr) (Lease, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	e, ok := r.leases.byIP[ip]
	return e.Lease, ok
}

// LeaseByMAC gives the lease of a machine, also one that has expired.
func (r *Registry) LeaseByMAC(mac string) (Lease, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	e, ok := r.leases.byIP[r.leases.byMAC[mac]]
	return e.Lease, ok && mac != ""
}

// CommitLease stores a lease in place of those of its address and of its machine, in one step. mayReplace decides about
// a lease of the same address; if it says no, ErrTaken is returned. It blocks until the lease is durable.
func (r *Registry) CommitLease(ctx context.Context, l Lease, mayReplace func(old Lease) bool) error {
	key := l.MAC
	if key == "" {
		key = l.IP.String()
	}
	turn := &r.leases.writing[maphash.String(r.leases.seed, key)%64]
	turn.Lock()
	defer turn.Unlock()
	for {
		err := r.tryLease(ctx, l, mayReplace)
		if !errors.Is(err, state.ErrConflict) {
			return err
		}
		// Somebody else took one of the addresses meanwhile: look at what is there now.
		if err := errors.Join(r.readLease(l.IP), r.readLease(r.addressOf(l.MAC))); err != nil {
			return err
		}
	}
}

func (r *Registry) tryLease(ctx context.Context, l Lease, mayReplace func(old Lease) bool) error {
	r.mu.RLock()
	old, exists := r.leases.byIP[l.IP]
	other, moved := r.leases.byIP[r.leases.byMAC[l.MAC]]
	r.mu.RUnlock()
	if exists && !mayReplace(old.Lease) {
		return fmt.Errorf("lease of %s: %w", l.IP, ErrTaken)
	}
	put, err := state.Put(state.KindLease, l.IP.String(), l)
	if err != nil {
		return err
	}
	ops := []state.Op{put.At(old.version)}
	if moved && l.MAC != "" && other.IP != l.IP {
		ops = append(ops, state.Delete(state.KindLease, other.IP.String()).At(other.version))
	}
	ack, err := r.conf.Store.Apply(ctx, state.Origin{Who: "dhcp", Where: "local"}, ops...)
	if err != nil {
		return fmt.Errorf("lease of %s: %w", l.IP, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, op := range ops {
		if err := r.leases.take(state.Record{Key: op.Key, Value: op.Value, Deleted: op.Value == nil, Version: ack.Version}); err != nil {
			return err
		}
	}
	return nil
}

func (r *Registry) addressOf(mac string) netip.Addr {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.leases.byMAC[mac]
}

// readLease makes memory follow the state for one address.
func (r *Registry) readLease(ip netip.Addr) error {
	if !ip.IsValid() {
		return nil
	}
	key := state.Key{Kind: state.KindLease, Name: ip.String()}
	rec, err := r.conf.Store.Get(key)
	if errors.Is(err, state.ErrNotFound) {
		rec = state.Record{Key: key, Deleted: true}
	} else if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, ok := r.leases.byIP[ip]; ok {
		delete(r.leases.byIP, ip)
		if r.leases.byMAC[old.MAC] == ip {
			delete(r.leases.byMAC, old.MAC)
		}
	}
	return r.leases.take(rec)
}
