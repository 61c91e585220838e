package dhcp

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"time"
)

var errExhausted = errors.New("no free address in the pool")
var errNoPool = errors.New("unknown machine, and there is no pool")

// choice is the address that a machine should have.
type choice struct {
	ip       netip.Addr
	hostname string
	fresh    bool   // a pool address that the machine has not had: somebody else may be using it
	note     string // why it is not the reserved one
}

// choose finds the address of a machine: the reserved one, the one it had, or one of the pool. It depends on nothing but
// its arguments, so heads with the same state choose alike.
func (c Config) choose(mac MAC, s Subnet, db View, now time.Time) (choice, error) {
	r, _ := db.Reservation(mac)
	ch := choice{hostname: r.Hostname}
	if r.IP.IsValid() {
		if ch.note = c.obstacle(r.IP, mac, s, db, now); ch.note == "" {
			ch.ip = r.IP
			return ch, nil
		}
		ch.note = fmt.Sprintf("reserved address %v not given: %s", r.IP, ch.note)
	}
	if l, ok := db.LeaseByMAC(mac); ok && c.poolAddress(l.IP, mac, s, db) && freeFor(l.IP, mac, db, now) && (l.Live(now) || db.Gives(l.IP)) {
		ch.ip = l.IP
		return ch, nil
	}
	ch.fresh = true
	var err error
	ch.ip, err = c.free(mac, s, db, now)
	return ch, err
}

// obstacle says why a reserved address cannot be given to its machine now.
func (c Config) obstacle(ip netip.Addr, mac MAC, s Subnet, db View, now time.Time) string {
	if !hostIn(s.Prefix, ip) {
		return "not a host of " + s.Prefix.String()
	}
	if c.keep(ip, s) {
		return "it belongs to a head or the router"
	}
	l, _ := db.LeaseByIP(ip)
	if freeFor(ip, mac, db, now) {
		if l.MAC != mac && l.MAC != (MAC{}) && !reclaims(l, db, now) {
			return fmt.Sprintf("it was leased to %v until %s, which another head may have renewed", l.MAC, l.Expires.UTC().Format(time.RFC3339))
		}
		return ""
	}
	holder := l.MAC
	if l.State == Quarantined {
		holder = l.Cause
	}
	return fmt.Sprintf("%s by %v until %s", l.State, holder, l.Expires.UTC().Format(time.RFC3339))
}

// keep tells whether an address is never given to anybody.
func (c Config) keep(ip netip.Addr, s Subnet) bool {
	return ip == c.Address.Addr() || ip == s.Router || ip == c.NextServer || slices.Contains(c.Exclude, ip)
}

// poolAddress tells whether the pool may give ip to mac, whoever holds it now.
func (c Config) poolAddress(ip netip.Addr, mac MAC, s Subnet, db View) bool {
	if !s.Pool.contains(ip) || c.keep(ip, s) {
		return false
	}
	owner, reserved := db.ReservedBy(ip)
	return !reserved || owner == mac
}

func freeFor(ip netip.Addr, mac MAC, db View, now time.Time) bool {
	l, ok := db.LeaseByIP(ip)
	return !ok || l.MAC == mac || !l.Live(now)
}

// reclaims tells whether the address of a lease that is over can go to another machine.
func reclaims(l Lease, db View, now time.Time) bool {
	return l.Over(now) && db.Whole() && db.Gives(l.IP)
}

// free takes the first free address, starting at a place given by the MAC. Addresses that nobody ever had come first;
// so a machine that stays away longer than its lease mostly finds its address waiting.
func (c Config) free(mac MAC, s Subnet, db View, now time.Time) (netip.Addr, error) {
	size := s.Pool.size()
	if size == 0 {
		return netip.Addr{}, errNoPool
	}
	h := fnv.New64a()
	h.Write(mac[:])
	start := h.Sum64() % size
	var expired netip.Addr
	for i := range size {
		ip := fromUint32(toUint32(s.Pool.From) + uint32((start+i)%size))
		// An address reserved for mac itself is not the pool's to give: choose has just found it obstructed.
		if owner, reserved := db.ReservedBy(ip); !c.poolAddress(ip, mac, s, db) || (reserved && owner == mac) {
			continue
		}
		l, ok := db.LeaseByIP(ip)
		if !ok || l.MAC == mac || l.vacant() {
			if db.Gives(ip) {
				return ip, nil
			}
			continue
		}
		if !expired.IsValid() && reclaims(l, db, now) {
			expired = ip
		}
	}
	if !expired.IsValid() {
		return expired, errExhausted
	}
	return expired, nil
}
