package netif

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink"

	"masthead/images"
)

const (
	mac0 = "52:54:00:77:00:01"
	mac1 = "52:54:00:77:00:02"
)

func TestLease(t *testing.T) {
	if elsewhere(t) {
		return
	}
	n := newNetwork(t)
	n.plug("cl0", mac0, "sw0", "10.77.0.1/24")
	log, _ := n.dnsmasq("--interface=sw0", "--dhcp-range=10.77.0.100,10.77.0.150,255.255.255.0,10m",
		"--dhcp-host="+mac0+",10.77.0.11,n01", "--domain=cluster.test",
		"--dhcp-option=option:dns-server,10.77.0.1,10.77.0.2", "--dhcp-option=option:ntp-server,10.77.0.3",
		"--dhcp-option=option:mtu,1400")
	began := sinceBoot()
	got, err := Up(deadline(t), Config{})
	if err != nil {
		t.Fatal(err)
	}
	ended := sinceBoot()
	want := Result{
		Link:     Link{Name: "cl0", MAC: mac0, Up: true, Carrier: true, Kind: "veth", Driver: "veth"},
		Prefix:   netip.MustParsePrefix("10.77.0.11/24"),
		Gateway:  netip.MustParseAddr("10.77.0.1"),
		DNS:      []netip.Addr{netip.MustParseAddr("10.77.0.1"), netip.MustParseAddr("10.77.0.2")},
		NTP:      []netip.Addr{netip.MustParseAddr("10.77.0.3")},
		Domain:   "cluster.test",
		Hostname: "n01",
		MTU:      1400,
		Lease: &Lease{Server: netip.MustParseAddr("10.77.0.1"), T1: 5 * time.Minute, T2: 525 * time.Second,
			Length: 10 * time.Minute},
		How: "by dhcp from 10.77.0.1",
	}
	diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{}),
		cmpopts.IgnoreFields(Link{}, "Index", "Speed"), cmpopts.IgnoreFields(Lease{}, "Acquired"))
	if diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if at := got.Lease.Acquired; at < began || at > ended {
		t.Errorf("acquired at %v, not between %v and %v", at, began, ended)
	}
	// No lifetime: the root must survive a silent server.
	if d := cmp.Diff([]string{"10.77.0.11/24"}, addresses(t, "cl0")); d != "" {
		t.Errorf("addresses -want +got:\n%s", d)
	}
	if d := cmp.Diff([]string{"10.77.0.1"}, defaultGateways(t)); d != "" {
		t.Errorf("gateways -want +got:\n%s", d)
	}
	if l, err := netlink.LinkByName("cl0"); err != nil || l.Attrs().MTU != 1400 {
		t.Errorf("MTU: %v, %v", l.Attrs().MTU, err)
	}
	if lo, err := netlink.LinkByName("lo"); err != nil || lo.Attrs().Flags&net.FlagUp == 0 {
		t.Errorf("the loopback is not up: %v", err)
	}
	if !strings.Contains(log(), "vendor class: masthead") {
		t.Errorf("the server sees no vendor class:\n%s", log())
	}
	// Again, as after a restart: the same.
	again, err := Up(deadline(t), Config{NIC: mac0})
	if err != nil || again.Prefix != got.Prefix {
		t.Errorf("the second time: %v, %v", again, err)
	}
}

// The identity is the MAC: a server that knows the machine by the client identifier that iPXE sends knows Linux too.
func TestSameIdentityAsFirmware(t *testing.T) {
	p := discover(net.HardwareAddr{0x52, 0x54, 0, 0x77, 0, 1}, netip.Addr{})
	if got, want := p.Options.Get(dhcpv4.OptionClientIdentifier), []byte{1, 0x52, 0x54, 0, 0x77, 0, 1}; !cmp.Equal(got, want) {
		t.Errorf("client identifier % x, want % x", got, want)
	}
	if p.HWType != 1 || p.ClientHWAddr.String() != mac0 {
		t.Errorf("hardware %v %v", p.HWType, p.ClientHWAddr)
	}
}

func TestFirstNICWithServer(t *testing.T) {
	if elsewhere(t) {
		return
	}
	dark, silent, served := newNetwork(t), newNetwork(t), newNetwork(t)
	dark.plug("cl0", "52:54:00:77:00:10", "sw0", "")
	silent.plug("cl1", "52:54:00:77:00:11", "sw0", "10.78.0.1/24")
	served.plug("cl2", "52:54:00:77:00:12", "sw0", "10.77.0.1/24")
	served.dnsmasq("--interface=sw0", "--dhcp-range=10.77.0.100,10.77.0.150,255.255.255.0,10m")
	got, err := Up(deadline(t), Config{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Link.Name != "cl2" {
		t.Errorf("took %v", got.Link)
	}
	if a := addresses(t, "cl1"); len(a) > 0 {
		t.Errorf("cl1 has %v", a)
	}
}

// Two NICs in one network take one address.
func TestTwoNICsOneLease(t *testing.T) {
	if elsewhere(t) {
		return
	}
	n := newNetwork(t)
	n.plug("cl0", mac0, "sw0", "10.77.0.1/24")
	n.plug("cl1", mac1, "sw1", "10.79.0.1/24")
	log, stop := n.dnsmasq("--interface=sw0", "--interface=sw1", "--dhcp-range=10.77.0.100,10.77.0.150,255.255.255.0,10m",
		"--dhcp-range=10.79.0.100,10.79.0.150,255.255.255.0,10m")
	if _, err := Up(deadline(t), Config{}); err != nil {
		t.Fatal(err)
	}
	stop()
	// A slow server may have been asked twice, and says the same twice.
	acks := regexp.MustCompile(`DHCPACK\(\w+\) [0-9.]+`).FindAllString(log(), -1)
	slices.Sort(acks)
	if got := slices.Compact(acks); len(got) != 1 {
		t.Errorf("leases %q:\n%s", got, log())
	}
}

// The first DISCOVER may be lost here: the far end of a veth has no queue for its answer until the kernel gets to it
// (net/core/link_watch.c), and a busy machine may send it late. The time limits below leave seconds for both; how many
// messages went out until then is not for us to say.
func TestFailures(t *testing.T) {
	tests := []struct {
		name   string
		far    string // the address of the far end; empty: no carrier
		answer func(*dhcpv4.DHCPv4) []*dhcpv4.DHCPv4
		config Config
		cause  Cause
		says   []string
	}{
		{
			name: "silent", far: "10.77.0.1/24",
			config: Config{Timeout: 3 * time.Second},
			cause:  NoOffer,
			says:   []string{"cl0 (" + mac0 + ", veth, carrier", " DISCOVER sent, no answer"},
		},
		{
			name:   "no carrier",
			config: Config{Carrier: 200 * time.Millisecond},
			cause:  NoCarrier,
			says:   []string{"cl0 (" + mac0 + ", veth, no carrier)"},
		},
		{
			name: "no such NIC", far: "10.77.0.1/24",
			config: Config{NIC: "52:54:00:00:00:00", Appear: 200 * time.Millisecond},
			cause:  NoSuchNIC,
			says:   []string{"no network interface 52:54:00:00:00:00 in ", "there are cl0 ("},
		},
		{
			name: "refused", far: "10.77.0.1/24",
			answer: func(req *dhcpv4.DHCPv4) []*dhcpv4.DHCPv4 {
				if req.MessageType() == dhcpv4.MessageTypeDiscover {
					return []*dhcpv4.DHCPv4{reply(req, dhcpv4.MessageTypeOffer, dhcpv4.WithYourIP(net.IPv4(10, 77, 0, 9)),
						dhcpv4.WithNetmask(net.CIDRMask(24, 32)))}
				}
				return []*dhcpv4.DHCPv4{reply(req, dhcpv4.MessageTypeNak, dhcpv4.WithOption(dhcpv4.OptMessage("not\nyours")))}
			},
			config: Config{Timeout: 5 * time.Second},
			cause:  Refused,
			says:   []string{"from 10.77.0.1, ", " REQUEST sent", `NAK from 10.77.0.1 ("notyours")`},
		},
		{
			name: "offers only", far: "10.77.0.1/24",
			answer: func(req *dhcpv4.DHCPv4) []*dhcpv4.DHCPv4 {
				if req.MessageType() != dhcpv4.MessageTypeDiscover {
					return nil // for good
				}
				return []*dhcpv4.DHCPv4{reply(req, dhcpv4.MessageTypeOffer, dhcpv4.WithYourIP(net.IPv4(10, 77, 0, 9)),
					dhcpv4.WithNetmask(net.CIDRMask(24, 32)))}
			},
			config: Config{Timeout: 5 * time.Second},
			cause:  NoAck,
			says:   []string{" from 10.77.0.1, ", " REQUEST sent, no answer to them"},
		},
		{
			name: "useless offers", far: "10.77.0.1/24",
			answer: func(req *dhcpv4.DHCPv4) []*dhcpv4.DHCPv4 {
				foreign := reply(req, dhcpv4.MessageTypeOffer, dhcpv4.WithYourIP(net.IPv4(10, 77, 0, 9)),
					dhcpv4.WithNetmask(net.CIDRMask(24, 32)))
				foreign.TransactionID[0]++ // another machine's
				return []*dhcpv4.DHCPv4{foreign, reply(req, dhcpv4.MessageTypeOffer)}
			},
			config: Config{Timeout: 5 * time.Second},
			cause:  NoOffer,
			says:   []string{" DISCOVER sent, OFFER from 10.77.0.1 declined: no address in it, as from a proxyDHCP server"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if elsewhere(t) {
				return
			}
			n := newNetwork(t)
			n.plug("cl0", mac0, "sw0", tt.far)
			if tt.answer != nil {
				n.server("sw0", tt.answer)
			}
			_, err := Up(deadline(t), tt.config)
			f, ok := errors.AsType[*Failure](err)
			if !ok {
				t.Fatalf("got %v", err)
			}
			if f.Cause != tt.cause {
				t.Errorf("cause %q, want %q", f.Cause, tt.cause)
			}
			for _, s := range tt.says {
				if !strings.Contains(f.Error(), s) {
					t.Errorf("%q\ndoes not say %q", f.Error(), s)
				}
			}
			if f.Try() == "" {
				t.Error("no advice")
			}
			if a := addresses(t, "cl0"); len(a) > 0 {
				t.Errorf("has %v", a)
			}
		})
	}
}

func TestNoNIC(t *testing.T) {
	if elsewhere(t) {
		return
	}
	_, err := Up(deadline(t), Config{Appear: 50 * time.Millisecond})
	if f, ok := errors.AsType[*Failure](err); !ok || f.Cause != NoNIC {
		t.Errorf("got %v", err)
	}
}

func TestCancelled(t *testing.T) {
	if elsewhere(t) {
		return
	}
	n := newNetwork(t)
	n.plug("cl0", mac0, "sw0", "10.77.0.1/24")
	ctx, cancel := context.WithCancel(deadline(t))
	n.server("sw0", func(*dhcpv4.DHCPv4) []*dhcpv4.DHCPv4 { cancel(); return nil })
	_, err := Up(ctx, Config{})
	if f, ok := errors.AsType[*Failure](err); !ok || f.Cause != Cancelled || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// Drivers come when they come, and cables later.
func TestLateNICLateCarrier(t *testing.T) {
	if elsewhere(t) {
		return
	}
	n := newNetwork(t)
	type done struct {
		r   Result
		err error
	}
	up := make(chan done, 1)
	ctx := deadline(t)
	go func() {
		r, err := Up(ctx, Config{NIC: mac0})
		up <- done{r, err}
	}()
	n.plug("other", mac1, "sw1", "10.78.0.1/24")
	n.plug("cl0", mac0, "sw0", "")
	until(t, "cl0 to be set up", func() bool {
		l, err := netlink.LinkByName("cl0")
		return err == nil && l.Attrs().Flags&net.FlagUp != 0
	})
	n.connect("sw0", "10.77.0.1/24")
	n.dnsmasq("--interface=sw0", "--dhcp-range=10.77.0.100,10.77.0.150,255.255.255.0,10m")
	got := <-up
	if got.err != nil || got.r.Link.Name != "cl0" {
		t.Errorf("got %+v", got)
	}
	if l, _ := netlink.LinkByName("other"); l.Attrs().Flags&net.FlagUp != 0 {
		t.Error("a NIC that was not named was set up")
	}
}

func TestStaticAndAuto(t *testing.T) {
	address, gateway := netip.MustParsePrefix("10.77.0.5/24"), netip.MustParseAddr("10.77.0.254")
	dns := netip.MustParseAddr("9.9.9.9")
	// Only what does not come is waited for briefly.
	const short, long = 300 * time.Millisecond, time.Minute
	tests := []struct {
		name           string
		far            string
		serve          bool
		mode           images.IPMode
		carrier, probe time.Duration
		want           string
		gw             []string
	}{
		{"static", "10.77.0.1/24", true, images.IPStatic, long, long, "cl0 10.77.0.5/24 static", []string{"10.77.0.254"}},
		{"static without carrier", "", false, images.IPStatic, short, long,
			"cl0 10.77.0.5/24 static, without carrier for 300ms", []string{"10.77.0.254"}},
		{"auto with a server", "10.77.0.1/24", true, images.IPAuto, long, long, "cl0 10.77.0.77/24 by dhcp from 10.77.0.1",
			[]string{"10.77.0.1"}},
		{"auto without", "10.77.0.1/24", false, images.IPAuto, long, short,
			"cl0 10.77.0.5/24 static: no DHCP server answered in 300ms", []string{"10.77.0.254"}},
		{"auto without carrier", "", false, images.IPAuto, short, long,
			"cl0 10.77.0.5/24 static: no carrier in 300ms, so no DHCP server was asked", []string{"10.77.0.254"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if elsewhere(t) {
				return
			}
			n := newNetwork(t)
			n.plug("cl0", mac0, "sw0", tt.far)
			if tt.serve {
				n.dnsmasq("--interface=sw0", "--dhcp-range=10.77.0.77,10.77.0.77,255.255.255.0,10m")
			}
			got, err := Up(deadline(t), Config{Mode: tt.mode, Address: address, Gateway: gateway, DNS: dns,
				Carrier: tt.carrier, Probe: tt.probe})
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if d := cmp.Diff([]string{got.Prefix.String()}, addresses(t, "cl0")); d != "" {
				t.Errorf("addresses -want +got:\n%s", d)
			}
			// The kernel takes a route only for a link with carrier into account, but keeps it in any case.
			if d := cmp.Diff(tt.gw, defaultGateways(t)); d != "" {
				t.Errorf("gateways -want +got:\n%s", d)
			}
			if tt.mode == images.IPStatic && got.ResolvConf() != "nameserver 9.9.9.9\n" {
				t.Errorf("resolv.conf %q", got.ResolvConf())
			}
		})
	}
}

// A gateway outside of the address's network.
func TestGatewayElsewhere(t *testing.T) {
	if elsewhere(t) {
		return
	}
	n := newNetwork(t)
	n.plug("cl0", mac0, "sw0", "10.77.0.1/24")
	_, err := Up(deadline(t), Config{Mode: images.IPStatic, Address: netip.MustParsePrefix("192.0.2.7/32"),
		Gateway: netip.MustParseAddr("10.77.0.1")})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"10.77.0.1"}, defaultGateways(t)); d != "" {
		t.Errorf("gateways -want +got:\n%s", d)
	}
}

func TestNone(t *testing.T) {
	if elsewhere(t) {
		return
	}
	n := newNetwork(t)
	n.plug("cl0", mac0, "sw0", "10.77.0.1/24")
	got, err := Up(deadline(t), Config{Mode: images.IPNone})
	if err != nil || got.Prefix.IsValid() || got.String() == "" {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestLinks(t *testing.T) {
	if elsewhere(t) {
		return
	}
	n := newNetwork(t)
	n.plug("cl0", mac0, "sw0", "10.77.0.1/24")
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { netlink.LinkDel(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}) })
	links, err := Links()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range links {
		got = append(got, l.Name+" "+l.Kind+" "+l.Driver)
	}
	if d := cmp.Diff([]string{"cl0 veth veth", "br0 bridge bridge"}, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}
