package appliance

import (
	"context"
	"errors"
	"net/netip"

	"masthead/appliance/dhcp"
	"masthead/appliance/registry"
)

// leases is the registry as the DHCP server sees it: reservations and leases by MAC.
type leases struct {
	reg   *registry.Registry
	taken func(netip.Addr) (who string, ok bool) // addresses that no machine may be given; nil: only those of heads
}

func (l leases) Reservation(mac dhcp.MAC) (dhcp.Reservation, bool) {
	rec, ok := l.reg.ByMAC(mac.String())
	if !ok {
		return dhcp.Reservation{}, false
	}
	if keeper, _ := l.reg.ByAddress(rec.Address); keeper.Name != rec.Name {
		rec.Address = netip.Addr{} // after a merge: another node has it too, and keeps it
	}
	return dhcp.Reservation{IP: rec.Address, Hostname: rec.Name}, true
}

func (l leases) ReservedBy(ip netip.Addr) (dhcp.MAC, bool) {
	rec, ok := l.reg.ByAddress(ip)
	if !ok {
		if l.taken != nil {
			_, ok = l.taken(ip)
		}
		return dhcp.MAC{}, ok || l.reg.IsHead(ip) // a head that is no node, or a virtual address: nobody else's
	}
	return parseMAC(rec.MAC), true
}

// Gives and Whole are what the registry knows of the other heads.
func (l leases) Gives(ip netip.Addr) bool { return l.reg.MayGive(ip) }
func (l leases) Whole() bool              { return l.reg.AllHeads() }

func (l leases) LeaseByMAC(mac dhcp.MAC) (dhcp.Lease, bool) {
	lease, ok := l.reg.LeaseByMAC(mac.String())
	return toDHCP(lease), ok
}

func (l leases) LeaseByIP(ip netip.Addr) (dhcp.Lease, bool) {
	lease, ok := l.reg.LeaseByIP(ip)
	return toDHCP(lease), ok
}

// Commit stores a lease durably. The DHCP server's own rule says whether it may replace what is there.
func (l leases) Commit(ctx context.Context, lease dhcp.Lease) error {
	err := l.reg.CommitLease(ctx, fromDHCP(lease), func(old registry.Lease) bool { return lease.MayReplace(toDHCP(old)) })
	if errors.Is(err, registry.ErrTaken) {
		return dhcp.ErrTaken
	}
	return err
}

func toDHCP(l registry.Lease) dhcp.Lease {
	return dhcp.Lease{
		IP: l.IP, MAC: parseMAC(l.MAC), State: dhcp.State(l.State), Renewed: l.Renewed, Expires: l.Expires,
		ClientID: l.ClientID, UUID: l.UUID, Hostname: l.Hostname, Cause: parseMAC(l.Cause),
	}
}

func fromDHCP(l dhcp.Lease) registry.Lease {
	return registry.Lease{
		IP: l.IP, MAC: macText(l.MAC), State: string(l.State), Renewed: l.Renewed, Expires: l.Expires,
		ClientID: l.ClientID, UUID: l.UUID, Hostname: l.Hostname, Cause: macText(l.Cause),
	}
}

// macText is the MAC as the registry keys it; the zero MAC is nobody.
func macText(m dhcp.MAC) string {
	if m == (dhcp.MAC{}) {
		return ""
	}
	return m.String()
}
