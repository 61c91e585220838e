package netif

import (
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

// common is in every message. The client identifier is the hardware type and the MAC, as iPXE sends it: servers that
// tell machines apart by this option (RFC 2131, 4.2) then give Linux the address that iPXE had, and servers that go by
// the MAC do so anyway.
func common(mac net.HardwareAddr, elapsed time.Duration) []dhcpv4.Modifier {
	id := append([]byte{byte(iana.HWTypeEthernet)}, mac...)
	return []dhcpv4.Modifier{
		dhcpv4.WithHwAddr(mac),
		dhcpv4.WithOption(dhcpv4.OptClientIdentifier(id)),
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier(VendorClass)),
		dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(maxMessage)),
		dhcpv4.WithRequestedOptions(
			dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionHostName,
			dhcpv4.OptionDomainName, dhcpv4.OptionInterfaceMTU, dhcpv4.OptionNTPServers,
			dhcpv4.OptionIPAddressLeaseTime, dhcpv4.OptionRenewTimeValue, dhcpv4.OptionRebindingTimeValue),
		func(p *dhcpv4.DHCPv4) { p.NumSeconds = uint16(min(elapsed/time.Second, 0xffff)) },
	}
}

// discover asks for want again, if that is valid (RFC 2131, 4.4.1).
func discover(mac net.HardwareAddr, want netip.Addr) (*dhcpv4.DHCPv4, error) {
	mods := append(common(mac, 0), dhcpv4.WithMessageType(dhcpv4.MessageTypeDiscover))
	if want.IsValid() {
		mods = append(mods, dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(want.AsSlice())))
	}
	return dhcpv4.New(mods...)
}

// request answers an offer (RFC 2131, 4.3.2, SELECTING): the offer's transaction, address and server.
func request(offer *dhcpv4.DHCPv4, mac net.HardwareAddr, elapsed time.Duration) (*dhcpv4.DHCPv4, error) {
	return dhcpv4.New(append(common(mac, elapsed),
		dhcpv4.WithTransactionID(offer.TransactionID),
		dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest),
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(offer.YourIPAddr)),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(offer.ServerIdentifier())))...)
}

// extend asks for more time (RFC 2131, 4.3.2, RENEWING and REBINDING): the address in ciaddr, and neither the
// requested address nor a server.
func extend(addr netip.Addr, mac net.HardwareAddr, elapsed time.Duration) (*dhcpv4.DHCPv4, error) {
	return dhcpv4.New(append(common(mac, elapsed),
		dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest),
		dhcpv4.WithClientIP(addr.AsSlice()))...)
}
