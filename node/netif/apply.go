package netif

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// apply gives the link its address and the default route. Both stay until somebody removes them: the address has no
// lifetime in the kernel, because a root that comes over it must outlive a DHCP server's silence. Doing it twice is
// doing it once.
func apply(r Result) error {
	link, err := netlink.LinkByIndex(r.Link.Index)
	if err != nil {
		return fmt.Errorf("find %s: %w", r.Link.Name, err)
	}
	if r.MTU > 0 && r.MTU != link.Attrs().MTU {
		// Not worth a boot: a switch that cannot do it will show.
		_ = netlink.LinkSetMTU(link, r.MTU)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", r.Link.Name, err)
	}
	a := &netlink.Addr{IPNet: &net.IPNet{
		IP:   r.Prefix.Addr().AsSlice(),
		Mask: net.CIDRMask(r.Prefix.Bits(), r.Prefix.Addr().BitLen()),
	}}
	if r.Prefix.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD // or nothing can be sent for the next seconds
	}
	if err := netlink.AddrReplace(link, a); err != nil {
		return fmt.Errorf("add address %s to %s: %w", r.Prefix, r.Link.Name, err)
	}
	if !r.Gateway.IsValid() {
		return nil
	}
	if err := netlink.RouteReplace(defaultRoute(r)); err != nil {
		return fmt.Errorf("add default route by %s on %s: %w", r.Gateway, r.Link.Name, err)
	}
	return nil
}

func defaultRoute(r Result) *netlink.Route {
	route := &netlink.Route{
		LinkIndex: r.Link.Index,
		Gw:        r.Gateway.AsSlice(),
		Src:       r.Prefix.Addr().AsSlice(),
		Protocol:  unix.RTPROT_STATIC,
	}
	if r.Lease != nil {
		route.Protocol = unix.RTPROT_DHCP
	}
	// Some hosters route a single address by a gateway outside of it.
	if !r.Prefix.Masked().Contains(r.Gateway) {
		route.Flags = int(netlink.FLAG_ONLINK)
	}
	zero := netip.IPv4Unspecified()
	if r.Gateway.Is6() {
		zero = netip.IPv6Unspecified()
	}
	route.Dst = &net.IPNet{IP: zero.AsSlice(), Mask: net.CIDRMask(0, zero.BitLen())}
	return route
}
