package dhcp

import (
	"net/netip"
	"time"
)

// maxOffers bounds the memory that strangers can take; an offer is some 200 bytes.
const maxOffers = 4096

// offers are the addresses held for clients that have not asked for them yet, or whose lease is just being stored.
// They live in memory only: a head that forgets them computes them again.
type offers struct {
	byIP  map[netip.Addr]Lease
	byMAC map[MAC]netip.Addr
}

func newOffers() *offers {
	return &offers{byIP: map[netip.Addr]Lease{}, byMAC: map[MAC]netip.Addr{}}
}

// hold keeps an address for a client instead of any other that it held. When there is no room the offer that would
// expire first makes some.
func (o *offers) hold(l Lease, now time.Time) {
	o.drop(o.byMAC[l.MAC])
	o.drop(l.IP)
	if len(o.byIP) >= maxOffers {
		var first Lease
		for _, old := range o.byIP {
			if !old.Live(now) {
				o.drop(old.IP)
			} else if !first.IP.IsValid() || old.Expires.Before(first.Expires) {
				first = old
			}
		}
		if len(o.byIP) >= maxOffers {
			o.drop(first.IP)
		}
	}
	o.byIP[l.IP], o.byMAC[l.MAC] = l, l.IP
}

func (o *offers) drop(ip netip.Addr) {
	if l, ok := o.byIP[ip]; ok {
		delete(o.byIP, ip)
		delete(o.byMAC, l.MAC)
	}
}

// view is what the server knows at one moment: stored leases, and offers where no stored lease is live.
type view struct {
	Registry
	stored Leases
	offers *offers
	now    time.Time
}

func (v view) LeaseByIP(ip netip.Addr) (Lease, bool) {
	l, ok := v.stored.LeaseByIP(ip)
	if ok && l.Live(v.now) {
		return l, true
	}
	if held, found := v.offers.byIP[ip]; found && held.Live(v.now) {
		return held, true
	}
	return l, ok
}

func (v view) LeaseByMAC(mac MAC) (Lease, bool) {
	l, ok := v.stored.LeaseByMAC(mac)
	if ok && l.Live(v.now) {
		return l, true
	}
	if held, found := v.offers.byIP[v.offers.byMAC[mac]]; found && held.Live(v.now) {
		return held, true
	}
	return l, ok
}
