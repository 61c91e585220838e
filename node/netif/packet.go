package netif

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// VendorClass is how a masthead machine shows itself in option 60 once Linux runs.
const VendorClass = "masthead"

// maxMessage tells the server how much it may answer: what fits in an Ethernet frame.
const maxMessage = 1500

// message begins every request. The client identifier is the hardware type and the MAC, as iPXE sends it: servers that
// tell machines apart by this option (RFC 2131, 4.2) then give Linux the address that iPXE had, and servers that go by
// the MAC do so anyway.
//
// It does not come from dhcpv4.New, which waits for the kernel's random numbers by asking again and again without a
// pause (u-root/uio/rand), and by never blocking keeps the kernel from making any: a virtual machine without a source
// of them stood still here for minutes. A transaction's number has to differ from others and need not be secret.
func message(t dhcpv4.MessageType, mac net.HardwareAddr, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	p := &dhcpv4.DHCPv4{
		OpCode:       dhcpv4.OpcodeBootRequest,
		HWType:       iana.HWTypeEthernet,
		ClientHWAddr: mac,
		Options:      dhcpv4.Options{},
	}
	binary.BigEndian.PutUint32(p.TransactionID[:], rand.Uint32())
	for _, add := range append([]dhcpv4.Modifier{
		dhcpv4.WithMessageType(t),
		dhcpv4.WithOption(dhcpv4.OptClientIdentifier(append([]byte{byte(iana.HWTypeEthernet)}, mac...))),
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier(VendorClass)),
		dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(maxMessage)),
		dhcpv4.WithRequestedOptions(
			dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionHostName,
			dhcpv4.OptionDomainName, dhcpv4.OptionInterfaceMTU, dhcpv4.OptionNTPServers,
			dhcpv4.OptionIPAddressLeaseTime, dhcpv4.OptionRenewTimeValue, dhcpv4.OptionRebindingTimeValue),
	}, mods...) {
		add(p)
	}
	return p
}

// since tells servers and relays how long the machine has been asking.
func since(elapsed time.Duration) dhcpv4.Modifier {
	return func(p *dhcpv4.DHCPv4) { p.NumSeconds = uint16(min(elapsed/time.Second, math.MaxUint16)) }
}

// discover asks for want again, if that is valid (RFC 2131, 4.4.1).
func discover(mac net.HardwareAddr, want netip.Addr) *dhcpv4.DHCPv4 {
	p := message(dhcpv4.MessageTypeDiscover, mac)
	if want.IsValid() {
		p.UpdateOption(dhcpv4.OptRequestedIPAddress(want.AsSlice()))
	}
	return p
}

// request answers an offer (RFC 2131, 4.3.2, SELECTING): the offer's transaction, address and server.
func request(offer *dhcpv4.DHCPv4, mac net.HardwareAddr, elapsed time.Duration) *dhcpv4.DHCPv4 {
	return message(dhcpv4.MessageTypeRequest, mac, since(elapsed),
		dhcpv4.WithTransactionID(offer.TransactionID),
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(offer.YourIPAddr)),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(offer.ServerIdentifier())))
}

// extend asks for more time (RFC 2131, 4.3.2, RENEWING and REBINDING): the address in ciaddr, and neither the
// requested address nor a server.
func extend(addr netip.Addr, mac net.HardwareAddr, elapsed time.Duration) *dhcpv4.DHCPv4 {
	return message(dhcpv4.MessageTypeRequest, mac, since(elapsed), dhcpv4.WithClientIP(addr.AsSlice()))
}
