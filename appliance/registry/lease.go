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
	if known {
		b.release(old.MAC, ip)
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
	b.hold(l.MAC, ip)
	return nil
}

// hold enters that a machine has an address. Two heads that could not see each other may each have given it one: then
// all take the later.
func (b *leaseBook) hold(mac string, ip netip.Addr) {
	if mac == "" {
		return
	}
	if first, ok := b.byMAC[mac]; !ok || b.byIP[first].version.Compare(b.byIP[ip].version) <= 0 {
		b.byMAC[mac] = ip
	}
}

func (b *leaseBook) release(mac string, ip netip.Addr) {
	if b.byMAC[mac] == ip {
		delete(b.byMAC, mac)
	}
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
// a lease of the same address; if it says no, ErrTaken is returned. It blocks until the lease is durable: here, for a
// machine that keeps its address or gives it back, or on the head that gives the address away.
func (r *Registry) CommitLease(ctx context.Context, l Lease, mayReplace func(old Lease) bool) error {
	key := l.MAC
	if key == "" {
		key = l.IP.String()
	}
	turn := &r.leases.writing[maphash.String(r.leases.seed, key)%64]
	turn.Lock()
	defer turn.Unlock()
	for tries := 0; ; tries++ {
		err := r.tryLease(ctx, l, mayReplace)
		if !errors.Is(err, state.ErrConflict) || tries == maxConflicts {
			return err
		}
		// Somebody else took one of the addresses meanwhile: look at what is there now.
		if err := errors.Join(r.followLease(ctx, l.IP), r.followLease(ctx, r.addressOf(l.MAC)), pause(ctx, tries)); err != nil {
			return fmt.Errorf("lease of %s: %w", l.IP, err)
		}
	}
}

func (r *Registry) tryLease(ctx context.Context, l Lease, mayReplace func(old Lease) bool) error {
	r.mu.RLock()
	old, exists := r.leases.byIP[l.IP]
	other, moved := r.leases.byIP[r.leases.byMAC[l.MAC]]
	grant, foreign := r.grants(l, old.Lease)
	r.mu.RUnlock()
	if foreign || exists && !mayReplace(old.Lease) {
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
	at := r.conf.Head
	if grant {
		if at, err = r.owner(state.SlotOf(l.IP.String())); err != nil {
			return fmt.Errorf("lease of %s: %w", l.IP, err)
		}
	}
	if _, err := r.applyAt(ctx, at, state.Origin{Who: "dhcp", Where: "local"}, ops); err != nil {
		return fmt.Errorf("lease of %s: %w", l.IP, err)
	}
	return nil
}

// grants tells whether a lease gives an address to a machine that does not have it, in place of old, the record of the
// address; and whether the address is reserved for another machine by now. Who keeps an address, gives it back, or gets
// the one that is reserved for it takes it from nobody. The caller holds mu.
func (r *Registry) grants(l, old Lease) (grant, foreign bool) {
	if l.MAC == "" || !l.Expires.After(l.Renewed) {
		return false, false
	}
	if old.MAC == l.MAC && old.Expires.After(l.Renewed) {
		return false, false
	}
	if name, taken := r.byAddr.keeper[l.IP]; taken {
		mine := r.nodes[name].MAC == l.MAC
		return mine && old.MAC != "" && old.MAC != l.MAC, !mine
	}
	return true, false
}

func (r *Registry) addressOf(mac string) netip.Addr {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.leases.byMAC[mac]
}

// followTime is how long a change that is in the state of this head already may take into memory.
const followTime = 100 * time.Millisecond

// followLease waits until memory has the lease record of an address as the state has it, and with it what was written
// beside it: for whom the address is reserved. Where nobody runs the registry it reads the record.
func (r *Registry) followLease(ctx context.Context, ip netip.Addr) error {
	if !ip.IsValid() {
		return nil
	}
	for wait := time.Millisecond; wait < followTime; wait *= 2 {
		rec, err := r.conf.Store.Get(state.Key{Kind: state.KindLease, Name: ip.String()})
		if err != nil && !errors.Is(err, state.ErrNotFound) {
			return err
		}
		r.mu.RLock()
		have := r.leases.byIP[ip].version
		r.mu.RUnlock()
		if have == rec.Version {
			return nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return r.readLease(ip)
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
		r.leases.release(old.MAC, ip)
	}
	return r.leases.take(rec)
}
