package dhcp

import (
	"net"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Destination is where a reply goes.
type Destination struct {
	Addr netip.AddrPort
	// Link, if not zero, is the station that the frame is put on the wire for: it cannot answer ARP for Addr yet. Zero
	// means that the kernel routes.
	Link MAC
}

var (
	limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
	everyStation     = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
)

// destination applies RFC 2131, 4.1.
func (a *answer) destination(r *dhcpv4.DHCPv4) Destination {
	toAll := Destination{netip.AddrPortFrom(limitedBroadcast, clientPort), everyStation}
	yiaddr := addrOf(r.YourIPAddr)
	switch {
	case a.cl.giaddr.IsValid():
		return Destination{Addr: netip.AddrPortFrom(a.cl.giaddr, serverPort)}
	case r.MessageType() == dhcpv4.MessageTypeNak:
		return toAll
	case r.MessageType() == dhcpv4.MessageTypeAck && hostIn(a.subnet.Prefix, a.cl.ciaddr):
		return Destination{Addr: netip.AddrPortFrom(a.cl.ciaddr, clientPort)}
	case a.req.IsBroadcast() || !yiaddr.IsValid():
		return toAll
	default:
		return Destination{netip.AddrPortFrom(yiaddr, clientPort), a.cl.mac}
	}
}

func cidrMask(p netip.Prefix) net.IPMask { return net.CIDRMask(p.Bits(), 32) }
