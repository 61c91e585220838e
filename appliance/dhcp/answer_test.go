package dhcp

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

var (
	alice = MAC{2, 0, 0, 0, 0, 1} // udhcpc's in testdata
	bob   = MAC{2, 0, 0, 0, 0, 2}
)

type mod = func(*dhcpv4.DHCPv4)

func kind(t dhcpv4.MessageType) mod {
	return func(p *dhcpv4.DHCPv4) { p.UpdateOption(dhcpv4.OptMessageType(t)) }
}

func wants(s string) mod {
	return func(p *dhcpv4.DHCPv4) { p.UpdateOption(dhcpv4.OptRequestedIPAddress(ip(s).AsSlice())) }
}

func ciaddr(s string) mod {
	return func(p *dhcpv4.DHCPv4) { p.ClientIPAddr = ip(s).AsSlice() }
}

func serverID(s string) mod {
	return func(p *dhcpv4.DHCPv4) { p.UpdateOption(dhcpv4.OptServerIdentifier(ip(s).AsSlice())) }
}

func broadcast(p *dhcpv4.DHCPv4) { p.SetBroadcast() }

// bare removes what says in which state of RFC 2131 a request is.
func bare(p *dhcpv4.DHCPv4) {
	p.DeleteOption(dhcpv4.OptionServerIdentifier)
	p.DeleteOption(dhcpv4.OptionRequestedIPAddress)
}

func bound(m MAC, s string) Lease {
	return Lease{IP: ip(s), MAC: m, State: Bound, Renewed: noon.Add(-time.Hour), Expires: noon.Add(time.Hour)}
}

func expired(m MAC, s string) Lease {
	l := bound(m, s)
	l.Expires = noon.Add(-ReclaimAfter - time.Second)
	return l
}

func justExpired(m MAC, s string) Lease {
	l := bound(m, s)
	l.Expires = noon
	return l
}

// TestAnswer says for each situation: the event, the reply, where it goes, and what happens to the lease.
func TestAnswer(t *testing.T) {
	const (
		request  = dhcpv4.MessageTypeRequest
		decline  = dhcpv4.MessageTypeDecline
		release  = dhcpv4.MessageTypeRelease
		inform   = dhcpv4.MessageTypeInform
		discover = dhcpv4.MessageTypeDiscover
	)
	unsure := func(c *Config) { c.Authoritative = false }
	routed := fromClient
	routed.Unicast = true
	for _, tt := range []struct {
		name     string
		mods     []mod
		config   func(*Config)
		in       Ingress
		leases   []Lease
		reserved map[MAC]string
		apart    bool   // not all heads answer
		gone     string // an address that one of those gives away
		want     string
	}{
		// Discover: 10.9.0.180 is alice's place in the pool.
		{name: "new", want: "offer 10.9.0.180, OFFER 10.9.0.180 to 10.9.0.180:68 at 02:00:00:00:00:01, offered, probe"},
		{name: "wants broadcast", mods: []mod{broadcast}, want: "offer 10.9.0.180, OFFER 10.9.0.180 to 255.255.255.255:68 at ff:ff:ff:ff:ff:ff, offered, probe"},
		{name: "its place is taken", leases: []Lease{bound(bob, "10.9.0.180")}, want: "offer 10.9.0.181, OFFER 10.9.0.181 to 10.9.0.181:68 at 02:00:00:00:00:01, offered, probe"},
		{name: "its place was another's", leases: []Lease{expired(bob, "10.9.0.180")}, want: "offer 10.9.0.181, OFFER 10.9.0.181 to 10.9.0.181:68 at 02:00:00:00:00:01, offered, probe"},
		{name: "its place is reserved", reserved: map[MAC]string{bob: "10.9.0.180"}, want: "offer 10.9.0.181, OFFER 10.9.0.181 to 10.9.0.181:68 at 02:00:00:00:00:01, offered, probe"},
		{name: "its place is excluded", config: func(c *Config) { c.Exclude = append(c.Exclude, ip("10.9.0.180")) }, want: "offer 10.9.0.181, OFFER 10.9.0.181 to 10.9.0.181:68 at 02:00:00:00:00:01, offered, probe"},
		{name: "had a lease", leases: []Lease{bound(alice, "10.9.0.150")}, want: "offer 10.9.0.150, OFFER 10.9.0.150 to 10.9.0.150:68 at 02:00:00:00:00:01, offered"},
		{name: "comes back to an expired lease", leases: []Lease{expired(alice, "10.9.0.150")}, want: "offer 10.9.0.150, OFFER 10.9.0.150 to 10.9.0.150:68 at 02:00:00:00:00:01, offered"},
		{name: "its lease left the pool", leases: []Lease{bound(alice, "10.9.0.50")}, want: "offer 10.9.0.180, OFFER 10.9.0.180 to 10.9.0.180:68 at 02:00:00:00:00:01, offered, probe"},
		{name: "reserved", reserved: map[MAC]string{alice: "10.9.0.17"}, want: "offer 10.9.0.17, OFFER 10.9.0.17 to 10.9.0.17:68 at 02:00:00:00:00:01, offered"},
		{name: "reserved, and leased otherwise before", reserved: map[MAC]string{alice: "10.9.0.17"}, leases: []Lease{bound(alice, "10.9.0.150")}, want: "offer 10.9.0.17, OFFER 10.9.0.17 to 10.9.0.17:68 at 02:00:00:00:00:01, offered"},
		{name: "reserved address is held", reserved: map[MAC]string{alice: "10.9.0.117"}, leases: []Lease{bound(bob, "10.9.0.117")}, want: `offer 10.9.0.180, OFFER 10.9.0.180 to 10.9.0.180:68 at 02:00:00:00:00:01, offered, probe, "reserved address 10.9.0.117 not given: bound by 02:00:00:00:00:02 until 2026-01-02T13:00:00Z"`},
		{name: "reserved address is the head's", reserved: map[MAC]string{alice: "10.9.0.1"}, want: `offer 10.9.0.180, OFFER 10.9.0.180 to 10.9.0.180:68 at 02:00:00:00:00:01, offered, probe, "reserved address 10.9.0.1 not given: it belongs to a head or the router"`},
		{name: "reserved address is elsewhere", reserved: map[MAC]string{alice: "10.8.0.1"}, want: `offer 10.9.0.180, OFFER 10.9.0.180 to 10.9.0.180:68 at 02:00:00:00:00:01, offered, probe, "reserved address 10.8.0.1 not given: not a host of 10.9.0.0/24"`},
		{name: "no pool", config: func(c *Config) { c.Pool = Range{} }, want: `ignored invalid IP, "unknown machine, and there is no pool"`},
		{
			name: "pool is full", config: func(c *Config) { c.Pool = Range{ip("10.9.0.100"), ip("10.9.0.101")} },
			leases: []Lease{bound(bob, "10.9.0.100"), {IP: ip("10.9.0.101"), State: Quarantined, Expires: noon.Add(time.Minute)}},
			want:   `exhausted invalid IP, "no free address in the pool 10.9.0.100-10.9.0.101"`,
		},
		{
			name: "pool is full of old leases", config: func(c *Config) { c.Pool = Range{ip("10.9.0.100"), ip("10.9.0.101")} },
			leases: []Lease{bound(bob, "10.9.0.100"), expired(MAC{2, 9}, "10.9.0.101")},
			want:   "offer 10.9.0.101, OFFER 10.9.0.101 to 10.9.0.101:68 at 02:00:00:00:00:01, offered, probe",
		},
		{
			name: "pool is full of leases that are just over", config: func(c *Config) { c.Pool = Range{ip("10.9.0.100"), ip("10.9.0.100")} },
			leases: []Lease{justExpired(bob, "10.9.0.100")},
			want:   `exhausted invalid IP, "no free address in the pool 10.9.0.100-10.9.0.100"`,
		},

		// Several heads.
		{name: "its place is another head's to give, which is gone", apart: true, gone: "10.9.0.180", want: "offer 10.9.0.181, OFFER 10.9.0.181 to 10.9.0.181:68 at 02:00:00:00:00:01, offered, probe"},
		{name: "its lease is, and it is not over", apart: true, gone: "10.9.0.150", leases: []Lease{bound(alice, "10.9.0.150")}, want: "offer 10.9.0.150, OFFER 10.9.0.150 to 10.9.0.150:68 at 02:00:00:00:00:01, offered"},
		{name: "its lease is, and it is over", apart: true, gone: "10.9.0.150", leases: []Lease{expired(alice, "10.9.0.150")}, want: "offer 10.9.0.180, OFFER 10.9.0.180 to 10.9.0.180:68 at 02:00:00:00:00:01, offered, probe"},
		{name: "reserved, by a head that is gone", apart: true, gone: "10.9.0.17", reserved: map[MAC]string{alice: "10.9.0.17"}, want: "offer 10.9.0.17, OFFER 10.9.0.17 to 10.9.0.17:68 at 02:00:00:00:00:01, offered"},
		{
			name: "a head that is gone may have renewed what is over", apart: true, config: func(c *Config) { c.Pool = Range{ip("10.9.0.100"), ip("10.9.0.100")} },
			leases: []Lease{expired(bob, "10.9.0.100")},
			want:   `exhausted invalid IP, "no free address in the pool 10.9.0.100-10.9.0.100"`,
		},
		{
			name: "the same of a reserved address", apart: true, reserved: map[MAC]string{alice: "10.9.0.117"}, leases: []Lease{expired(bob, "10.9.0.117")},
			want: `offer 10.9.0.180, OFFER 10.9.0.180 to 10.9.0.180:68 at 02:00:00:00:00:01, offered, probe, "reserved address 10.9.0.117 not given: it was leased to 02:00:00:00:00:02 until 2026-01-02T11:58:59Z, which another head may have renewed"`,
		},
		{name: "reserved once, for nobody now", leases: []Lease{{IP: ip("10.9.0.180"), State: "reserved"}}, want: "offer 10.9.0.180, OFFER 10.9.0.180 to 10.9.0.180:68 at 02:00:00:00:00:01, offered, probe"},
		{name: "remembers what a head that is gone may have given", apart: true, mods: []mod{kind(request), bare, wants("10.9.0.151")}, want: `ignored 10.9.0.151, "not known here, and not all heads answer"`},
		{name: "renews what another head gave", apart: true, gone: "10.9.0.150", leases: []Lease{bound(alice, "10.9.0.150")}, mods: []mod{kind(request), bare, ciaddr("10.9.0.150")}, want: "ack 10.9.0.150, ACK 10.9.0.150 to 10.9.0.150:68, bound"},
		{name: "selects us for what is another head's to give", apart: true, gone: "10.9.0.180", mods: []mod{kind(request), wants("10.9.0.180"), serverID("10.9.0.1")}, want: `nak 10.9.0.180, NAK 0.0.0.0 to 255.255.255.255:68 at ff:ff:ff:ff:ff:ff, "10.9.0.180 is not yours, 10.9.0.181 is"`},

		// Relays.
		{name: "relayed", mods: []mod{relayed("10.20.0.1")}, config: behindRelay, want: "offer 10.20.1.252, OFFER 10.20.1.252 to 10.20.0.1:67, offered"},
		{name: "relayed on our subnet", mods: []mod{relayed("10.9.0.5")}, config: behindRelay, want: "offer 10.9.0.180, OFFER 10.9.0.180 to 10.9.0.5:67, offered"},
		{name: "relayed from nowhere", mods: []mod{relayed("10.30.0.1")}, config: behindRelay, want: `ignored invalid IP, "relayed from 10.30.0.1, which is in no subnet of ours"`},
		{name: "relayed from a broadcast address", mods: []mod{relayed("10.9.0.255")}, want: `ignored invalid IP, "relayed from 10.9.0.255, which is no relay's address"`},
		{
			name: "relay selects the link", config: behindRelay,
			mods: []mod{relayed("10.30.0.1", dhcpv4.OptGeneric(dhcpv4.LinkSelectionSubOption, []byte{10, 20, 0, 0}))},
			want: "offer 10.20.1.252, OFFER 10.20.1.252 to 10.30.0.1:67, offered",
		},
		{
			name: "moved behind a relay", config: behindRelay, leases: []Lease{bound(alice, "10.9.0.150")},
			mods: []mod{relayed("10.20.0.1")},
			want: "offer 10.20.1.252, OFFER 10.20.1.252 to 10.20.0.1:67, offered",
		},
		{
			name: "refused behind a relay", config: behindRelay,
			mods: []mod{kind(request), bare, wants("10.9.0.150"), relayed("10.20.0.1")},
			want: `nak 10.9.0.150, NAK 0.0.0.0 to 10.20.0.1:67, "10.9.0.150 is not yours, 10.20.1.252 is"`,
		},
		{
			name: "renews through routers", config: behindRelay, in: routed, leases: []Lease{bound(alice, "10.20.1.7")},
			mods: []mod{kind(request), bare, ciaddr("10.20.1.7")},
			want: "ack 10.20.1.7, ACK 10.20.1.7 to 10.20.1.7:68, bound",
		},
		{
			name: "server identifier overridden by the relay", config: behindRelay,
			mods: []mod{kind(request), wants("10.20.1.252"), serverID("10.20.0.1"), relayed("10.20.0.1", dhcpv4.OptGeneric(dhcpv4.ServerIdentifierOverrideSubOption, []byte{10, 20, 0, 1}))},
			want: "ack 10.20.1.252, ACK 10.20.1.252 to 10.20.0.1:67, bound",
		},

		// Request, selecting.
		{name: "selects us", mods: []mod{kind(request), wants("10.9.0.180"), serverID("10.9.0.1")}, want: "ack 10.9.0.180, ACK 10.9.0.180 to 10.9.0.180:68 at 02:00:00:00:00:01, bound"},
		{name: "selects another", mods: []mod{kind(request), wants("10.9.0.180"), serverID("10.9.0.9")}, want: `ignored invalid IP, "chose the server \"10.9.0.9\""`},
		{name: "selects us for a free address", mods: []mod{kind(request), wants("10.9.0.110"), serverID("10.9.0.1")}, want: "ack 10.9.0.110, ACK 10.9.0.110 to 10.9.0.110:68 at 02:00:00:00:00:01, bound"},
		{name: "selects us for another's", leases: []Lease{bound(bob, "10.9.0.110")}, mods: []mod{kind(request), wants("10.9.0.110"), serverID("10.9.0.1")}, want: `nak 10.9.0.110, NAK 0.0.0.0 to 255.255.255.255:68 at ff:ff:ff:ff:ff:ff, "10.9.0.110 is not yours, 10.9.0.180 is"`},
		{name: "selects us for one outside the pool", config: unsure, mods: []mod{kind(request), wants("10.9.0.50"), serverID("10.9.0.1")}, want: `nak 10.9.0.50, NAK 0.0.0.0 to 255.255.255.255:68 at ff:ff:ff:ff:ff:ff, "10.9.0.50 is not yours, 10.9.0.180 is"`},
		{name: "wants nothing", mods: []mod{kind(request), bare}, want: `ignored invalid IP, "requests no address"`},
		{name: "forged ciaddr", mods: []mod{kind(request), wants("10.9.0.180"), ciaddr("10.9.0.9")}, want: `ignored invalid IP, "requests 10.9.0.180 from 10.9.0.9"`},

		// Request, after a reboot.
		{name: "remembers its address", leases: []Lease{bound(alice, "10.9.0.150")}, config: unsure, mods: []mod{kind(request), bare, wants("10.9.0.150")}, want: "ack 10.9.0.150, ACK 10.9.0.150 to 10.9.0.150:68 at 02:00:00:00:00:01, bound"},
		{name: "remembers wrongly", leases: []Lease{bound(alice, "10.9.0.150")}, config: unsure, mods: []mod{kind(request), bare, wants("10.9.0.151")}, want: `nak 10.9.0.151, NAK 0.0.0.0 to 255.255.255.255:68 at ff:ff:ff:ff:ff:ff, "10.9.0.151 is not yours, 10.9.0.150 is"`},
		{name: "remembers, we do not", mods: []mod{kind(request), bare, wants("10.9.0.151")}, want: "ack 10.9.0.151, ACK 10.9.0.151 to 10.9.0.151:68 at 02:00:00:00:00:01, bound"},
		{name: "remembers, we do not and another may", config: unsure, mods: []mod{kind(request), bare, wants("10.9.0.151")}, want: `ignored 10.9.0.151, "not our client"`},
		{name: "comes from another network", mods: []mod{kind(request), bare, wants("192.168.1.5")}, want: `nak 192.168.1.5, NAK 0.0.0.0 to 255.255.255.255:68 at ff:ff:ff:ff:ff:ff, "192.168.1.5 is not yours, 10.9.0.180 is"`},
		{name: "comes from another network, known", config: unsure, leases: []Lease{bound(alice, "10.9.0.150")}, mods: []mod{kind(request), bare, wants("192.168.1.5")}, want: `ignored 192.168.1.5, "not an address of 10.9.0.0/24"`},
		{name: "unknown, no pool", config: func(c *Config) { c.Pool = Range{} }, mods: []mod{kind(request), bare, wants("10.9.0.151")}, want: `nak 10.9.0.151, NAK 0.0.0.0 to 255.255.255.255:68 at ff:ff:ff:ff:ff:ff, "unknown machine, and there is no pool"`},

		// Request, renewing.
		{name: "renews", leases: []Lease{bound(alice, "10.9.0.150")}, mods: []mod{kind(request), bare, ciaddr("10.9.0.150")}, want: "ack 10.9.0.150, ACK 10.9.0.150 to 10.9.0.150:68, bound"},
		{name: "renews what was reserved for another", leases: []Lease{bound(alice, "10.9.0.150")}, reserved: map[MAC]string{bob: "10.9.0.150"}, mods: []mod{kind(request), bare, ciaddr("10.9.0.150")}, want: `nak 10.9.0.150, NAK 0.0.0.0 to 255.255.255.255:68 at ff:ff:ff:ff:ff:ff, "10.9.0.150 is not yours, 10.9.0.180 is"`},

		// Decline, release, inform.
		{name: "declines", leases: []Lease{bound(alice, "10.9.0.150")}, mods: []mod{kind(decline), wants("10.9.0.150"), serverID("10.9.0.1")}, want: `decline 10.9.0.150, quarantined, "the client found it in use"`},
		{name: "declines another's", leases: []Lease{bound(bob, "10.9.0.150")}, mods: []mod{kind(decline), wants("10.9.0.150"), serverID("10.9.0.1")}, want: `ignored invalid IP, "declines 10.9.0.150: not its address"`},
		{name: "declines another server's", leases: []Lease{bound(alice, "10.9.0.150")}, mods: []mod{kind(decline), wants("10.9.0.150"), serverID("10.9.0.9")}, want: `ignored invalid IP, "declines 10.9.0.150: got it from another server"`},
		{name: "releases", leases: []Lease{bound(alice, "10.9.0.150")}, mods: []mod{kind(release), bare, ciaddr("10.9.0.150"), serverID("10.9.0.1")}, want: `release 10.9.0.150, released`},
		{name: "releases another's", leases: []Lease{bound(bob, "10.9.0.150")}, mods: []mod{kind(release), bare, ciaddr("10.9.0.150")}, want: `ignored invalid IP, "releases 10.9.0.150: not its address"`},
		{name: "informs", mods: []mod{kind(inform), bare, ciaddr("10.9.0.40")}, want: `inform 10.9.0.40, ACK 0.0.0.0 to 10.9.0.40:68`},
		{name: "informs for a stranger", mods: []mod{kind(inform), bare, ciaddr("192.0.2.1")}, want: `ignored invalid IP, "asks for options with no address of 10.9.0.0/24"`},
		{name: "informs for everybody", mods: []mod{kind(inform), bare, ciaddr("10.9.0.255")}, want: `ignored invalid IP, "asks for options with no address of 10.9.0.0/24"`},

		// Not sane.
		{name: "a reply", mods: []mod{func(p *dhcpv4.DHCPv4) { p.OpCode = dhcpv4.OpcodeBootReply }}, want: `ignored invalid IP, "not a request"`},
		{name: "an offer", mods: []mod{kind(dhcpv4.MessageTypeOffer)}, want: `ignored invalid IP, "message type 2 is not for a server"`},
		{name: "BOOTP", mods: []mod{func(p *dhcpv4.DHCPv4) { p.DeleteOption(dhcpv4.OptionDHCPMessageType) }}, want: `ignored invalid IP, "message type 0 is not for a server"`},
		{name: "not Ethernet", mods: []mod{func(p *dhcpv4.DHCPv4) { p.HWType = 32 }}, want: `ignored invalid IP, "hardware type 32, only Ethernet is served"`},
		{name: "short address", mods: []mod{func(p *dhcpv4.DHCPv4) { p.ClientHWAddr = p.ClientHWAddr[:5] }}, want: `ignored invalid IP, "\"02:00:00:00:00\" is no machine's Ethernet address"`},
		{name: "long address", mods: []mod{func(p *dhcpv4.DHCPv4) { p.ClientHWAddr = p.ClientHWAddr[:16] }}, want: `ignored invalid IP, "\"02:00:00:00:00:01:00:00:00:00:00:00:00:00:00:00\" is no machine's Ethernet address"`},
		{name: "no address", mods: []mod{func(p *dhcpv4.DHCPv4) { p.ClientHWAddr = make([]byte, 6) }}, want: `ignored invalid IP, "\"00:00:00:00:00:00\" is no machine's Ethernet address"`},
		{name: "a group's address", mods: []mod{func(p *dhcpv4.DHCPv4) { p.ClientHWAddr[0] = 3 }}, want: `ignored invalid IP, "\"03:00:00:00:00:01\" is no machine's Ethernet address"`},
		{name: "went in circles", mods: []mod{func(p *dhcpv4.DHCPv4) { p.HopCount = 17 }}, want: `ignored invalid IP, "passed 17 relays"`},

		// Proxy mode.
		{name: "proxy, not PXE", config: func(c *Config) { c.Mode = ModeProxy }, want: ""},
		{name: "off", config: func(c *Config) { c.Mode = ModeOff }, want: ""},
		{
			name: "proxy, from the other end of the world", config: func(c *Config) { c.Mode = ModeProxy },
			in:   Ingress{Source: fromClient.Source, Port: proxyPort},
			mods: []mod{kind(request), class("PXEClient:Arch:00000:UNDI:002001")},
			want: `ignored invalid IP, "asks the boot port from outside our subnets"`,
		},
		{
			name: "proxy, no loader", config: func(c *Config) { c.Mode = ModeProxy },
			mods: []mod{class("PXEClient:Arch:00011:UNDI:002001")},
			want: `ignored invalid IP, "no boot file for this client"`,
		},
		{
			name: "server, no loader", mods: []mod{kind(discover), class("PXEClient:Arch:00011:UNDI:002001")},
			want: `offer 10.9.0.180, OFFER 10.9.0.180 to 10.9.0.180:68 at 02:00:00:00:00:01, offered, probe, "no boot file for this client"`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := complete(t, lan)
			if tt.config != nil {
				c = complete(t, lan, tt.config)
			}
			if tt.in.Port == 0 {
				tt.in = fromClient
			}
			db := newMemory()
			for _, l := range tt.leases {
				db.leases[l.IP] = l
			}
			db.apart = tt.apart
			if tt.gone != "" {
				db.others = func(a netip.Addr) bool { return a == ip(tt.gone) }
			}
			for m, s := range tt.reserved {
				db.reservations[m] = Reservation{IP: ip(s)}
			}
			// As it comes from the wire, where hlen may promise more than six bytes.
			req := decoded(t, "udhcpc-discover")
			req.ClientHWAddr = append(req.ClientHWAddr, make([]byte, 10)...)[:6]
			for _, m := range tt.mods {
				m(req)
			}
			if diff := cmp.Diff(tt.want, short(c.Answer(req, tt.in, db, noon))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func class(s string) mod {
	return func(p *dhcpv4.DHCPv4) { p.UpdateOption(dhcpv4.OptClassIdentifier(s)) }
}

// short is a decision in one line.
func short(d Decision) string {
	if d.Outcome.Kind == "" {
		return ""
	}
	s := fmt.Sprintf("%s %v", d.Outcome.Kind, d.Outcome.IP)
	if d.Reply != nil {
		s += fmt.Sprintf(", %v %v to %v", d.Reply.MessageType(), orZero(d.Reply.YourIPAddr.To4()), d.To.Addr)
		if d.To.Link != (MAC{}) {
			s += " at " + d.To.Link.String()
		}
	}
	if d.Lease != nil {
		s += ", " + string(d.Lease.State)
	}
	if d.Probe.IsValid() {
		s += ", probe"
	}
	if d.Outcome.Detail != "" {
		s += fmt.Sprintf(", %q", d.Outcome.Detail)
	}
	return s
}

func orZero(b []byte) string {
	if b == nil {
		return "0.0.0.0"
	}
	return addrOf(b).String()
}

// TestOneAddressPerMachine boots one machine through its programs, each with another client identifier or none.
func TestOneAddressPerMachine(t *testing.T) {
	c := complete(t, lan)
	db := newMemory()
	var got []string
	for _, name := range []string{"ovmf-pxe-discover", "ipxe-efi-discover", "dhclient-discover", "udhcpc-discover", "ovmf-http-discover"} {
		req := decoded(t, name, func(p *dhcpv4.DHCPv4) { p.ClientHWAddr = alice[:] })
		d := c.Answer(req, fromClient, db, noon)
		l := *d.Lease
		l.State = Bound
		db.leases[l.IP] = l
		got = append(got, l.IP.String())
	}
	a := "10.9.0.180"
	if diff := cmp.Diff([]string{a, a, a, a, a}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestReplyFitsClient(t *testing.T) {
	c := complete(t, lan, func(c *Config) {
		c.Domain = "a-rather-long-domain-name-that-nobody-should-have-to-type.cluster.example"
		for i := range 20 {
			c.DNS = append(c.DNS, fromUint32(uint32(i)+1<<24))
		}
	})
	for _, tt := range []struct {
		name string
		max  uint16
		want int
	}{{"silent", 0, 548}, {"small", 400, 548}, {"roomy", 1500, 1472}} {
		t.Run(tt.name, func(t *testing.T) {
			req := decoded(t, "ipxe-bios-discover", relayed("10.9.0.5", dhcpv4.OptGeneric(dhcpv4.AgentRemoteIDSubOption, make([]byte, 60))))
			req.DeleteOption(dhcpv4.OptionMaximumDHCPMessageSize)
			if tt.max > 0 {
				req.UpdateOption(dhcpv4.OptMaxMessageSize(tt.max))
			}
			r := c.Answer(req, fromClient, newMemory(), noon).Reply
			if n := len(r.ToBytes()); n > tt.want {
				t.Errorf("reply has %d bytes, client takes %d", n, tt.want)
			}
			if r.BootFileName == "" || r.RelayAgentInfo() == nil {
				t.Error("dropped the boot file or the relay's option")
			}
			if tt.name == "roomy" && len(r.DNS()) != 22 {
				t.Errorf("dropped options though there was room: %v", r.DNS())
			}
		})
	}
}
