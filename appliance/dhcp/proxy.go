package dhcp

import (
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// proxy answers beside a foreign server, which gives the address (PXE 2.1). Machines that do not boot from the
// network are none of our business, and not worth an event either: the network may be a whole office's.
func (a *answer) proxy() Decision {
	if !a.cl.pxe && !a.cl.http {
		return Decision{}
	}
	a.id = a.Address.Addr()
	t := a.req.MessageType()
	reply, kind := dhcpv4.MessageTypeOffer, KindOffer
	switch {
	case a.in.Port == serverPort && t == dhcpv4.MessageTypeDiscover:
	case a.in.Port == proxyPort && (t == dhcpv4.MessageTypeRequest || t == dhcpv4.MessageTypeInform):
		// With its address in hand the client asks us again, directly.
		reply, kind = dhcpv4.MessageTypeAck, KindAck
	default:
		return Decision{}
	}
	file := a.bootFile(a.cl, a.req)
	if file == "" {
		return Decision{Outcome: a.event(KindIgnored, netip.Addr{}, "no boot file for this client")}
	}
	r := a.emptyReply(reply)
	a.setBoot(r, file)
	if a.cl.pxe {
		r.UpdateOption(dhcpv4.OptClassIdentifier(classPXE))
		r.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionVendorSpecificInformation, a.pxeOptions()))
	}
	trim(r, a.req)
	d := Decision{Reply: r, Outcome: a.event(kind, a.cl.ciaddr, file)}
	switch src := a.in.Source; {
	case a.in.Port == proxyPort:
		if !src.IsValid() || !a.Address.Contains(src.Addr()) && !a.fromRelayed(src.Addr()) {
			return a.ignore("asks the boot port from outside our subnets")
		}
		d.To = Destination{Addr: src}
	default:
		a.subnet.Prefix = a.Address.Masked()
		d.To = a.destination(r)
	}
	return d
}

func (a *answer) fromRelayed(ip netip.Addr) bool {
	_, ok := a.subnetOf(ip)
	return ok
}

// pxeOptions fills option 43 (PXE 2.1): discovery control 8 says that there is nothing to discover, the boot
// file in this packet is the one. A boot item that the client asked for is confirmed.
func (a *answer) pxeOptions() []byte {
	const (
		discoveryControl = 6
		bootItem         = 71
		useBootFile      = 1 << 3
		end              = 255
	)
	out := []byte{discoveryControl, 1, useBootFile}
	asked := dhcpv4.Options{}
	if asked.FromBytes(a.req.Options.Get(dhcpv4.OptionVendorSpecificInformation)) == nil {
		if item := asked[bootItem]; len(item) == 4 {
			out = append(append(out, bootItem, 4), item...)
		}
	}
	return append(out, end)
}
