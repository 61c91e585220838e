package dhcp

import (
	"net/netip"
	"slices"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// emptyReply is what every reply has in common (RFC 2131, table 3). It is built by hand and not by the library, whose
// constructors draw a random transaction id.
func (a *answer) emptyReply(t dhcpv4.MessageType) *dhcpv4.DHCPv4 {
	r := &dhcpv4.DHCPv4{
		OpCode:        dhcpv4.OpcodeBootReply,
		HWType:        a.req.HWType,
		TransactionID: a.req.TransactionID,
		Flags:         a.req.Flags,
		GatewayIPAddr: netIP(a.cl.giaddr),
		ClientHWAddr:  slices.Clone(a.req.ClientHWAddr),
		Options:       dhcpv4.Options{},
	}
	if t == dhcpv4.MessageTypeAck {
		r.ClientIPAddr = netIP(a.cl.ciaddr)
	}
	r.UpdateOption(dhcpv4.OptMessageType(t))
	r.UpdateOption(dhcpv4.OptServerIdentifier(netIP(a.id)))
	a.echo(r, dhcpv4.OptionClientIdentifier)      // RFC 6842
	a.echo(r, dhcpv4.OptionRelayAgentInformation) // RFC 3046, 2.2; only a relay's, not one that the client made up
	return r
}

func (a *answer) echo(r *dhcpv4.DHCPv4, code dhcpv4.OptionCode) {
	if code == dhcpv4.OptionRelayAgentInformation && !a.cl.giaddr.IsValid() {
		return
	}
	if v := a.req.Options.Get(code); len(v) > 0 {
		r.UpdateOption(dhcpv4.OptGeneric(code, v))
	}
}

// addressReply is an offer or an acknowledgement.
func (a *answer) addressReply(t dhcpv4.MessageType, ch choice, file string) *dhcpv4.DHCPv4 {
	r := a.emptyReply(t)
	r.YourIPAddr = netIP(ch.ip)
	r.UpdateOption(dhcpv4.OptIPAddressLeaseTime(a.LeaseTime))
	// The fractions are RFC 2131, 4.4.5; said aloud because clients round them differently.
	r.UpdateOption(dhcpv4.OptRenewTimeValue(a.LeaseTime / 2))
	r.UpdateOption(dhcpv4.OptRebindingTimeValue(a.LeaseTime * 7 / 8))
	a.setOptions(r, ch.hostname)
	a.setBoot(r, file)
	trim(r, a.req)
	return r
}

// setOptions adds what a machine on the subnet should know, as far as the client asked for it.
func (a *answer) setOptions(r *dhcpv4.DHCPv4, hostname string) {
	s := a.subnet
	add := func(opt dhcpv4.Option, have bool) {
		if have && a.req.IsOptionRequested(opt.Code) {
			r.UpdateOption(opt)
		}
	}
	// The mask is sent unasked: some ROMs do not ask and then guess it by class.
	r.UpdateOption(dhcpv4.OptSubnetMask(cidrMask(s.Prefix)))
	if s.Router.IsValid() {
		r.UpdateOption(dhcpv4.OptRouter(netIP(s.Router)))
	}
	add(dhcpv4.OptBroadcastAddress(netIP(broadcastOf(s.Prefix))), s.Prefix.Bits() < 31)
	names, times := a.servers()
	add(dhcpv4.OptDNS(netIPs(names)...), len(names) > 0)
	add(dhcpv4.OptDomainName(a.Domain), a.Domain != "")
	add(dhcpv4.OptHostName(hostname), hostname != "")
	add(dhcpv4.OptNTPServers(netIPs(times)...), len(times) > 0)
}

// setBoot tells the client what to load. ROMs read the header's fields, UEFI and iPXE the options first.
func (a *answer) setBoot(r *dhcpv4.DHCPv4, file string) {
	if file == "" {
		return
	}
	next := a.NextServer.String()
	r.ServerIPAddr = netIP(a.NextServer)
	r.ServerHostName = next
	r.UpdateOption(dhcpv4.OptTFTPServerName(next))
	r.UpdateOption(dhcpv4.OptBootFileName(file))
	if len(file) <= maxFileField {
		r.BootFileName = file
	}
	if a.cl.http {
		// UEFI, 24.7: an offer without this class is no HTTP offer.
		r.UpdateOption(dhcpv4.OptClassIdentifier(classHTTP))
	}
	if a.cl.uuid != "" {
		a.echo(r, dhcpv4.OptionClientMachineIdentifier) // PXE 2.1 wants it back
	}
	if a.cl.userClass == "iPXE" && a.Mode == ModeServer {
		// no-pxedhcp, 176 in iPXE's option space: without it iPXE waits for proxyDHCP offers (iPXE: src/net/udp/dhcp.c).
		r.UpdateOption(dhcpv4.OptGeneric(optionIPXE, []byte{176, 1, 1}))
	}
}

const (
	// minMessage is what every client takes (RFC 2131, 2); headers are IP's 20 and UDP's 8.
	minMessage   = 576
	maxMessage   = 1500
	frameHeaders = 28
)

// trim drops what the client can do without until the packet fits in what it said that it takes (option 57).
func trim(r, req *dhcpv4.DHCPv4) {
	limit := minMessage
	if n, err := req.MaxMessageSize(); err == nil {
		limit = min(max(int(n), minMessage), maxMessage)
	}
	for _, code := range []dhcpv4.OptionCode{
		dhcpv4.OptionTFTPServerName, dhcpv4.OptionBroadcastAddress, dhcpv4.OptionNTPServers, optionIPXE,
		dhcpv4.OptionHostName, dhcpv4.OptionDomainName, dhcpv4.OptionClientMachineIdentifier,
		dhcpv4.OptionDomainNameServer, dhcpv4.OptionClientIdentifier,
	} {
		if len(r.ToBytes())+frameHeaders <= limit {
			return
		}
		r.DeleteOption(code)
	}
}

// servers are those of options 6 and 42. A head that serves names knows what DNS would be asked; one that serves time
// does not know better than a server that somebody chose.
func (c Config) servers() (names, times []netip.Addr) {
	if c.Heads == nil {
		return c.DNS, c.NTP
	}
	heads := slices.DeleteFunc(slices.Clone(c.Heads()), func(a netip.Addr) bool { return !a.Is4() })
	if names = heads; len(names) == 0 {
		names = c.DNS
	}
	return names, append(slices.Clone(c.NTP), heads...)
}
