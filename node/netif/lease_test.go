package netif

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

func ack(t testing.TB, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	p, err := dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithMessageType(dhcpv4.MessageTypeAck),
		dhcpv4.WithHwAddr(net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}),
		dhcpv4.WithYourIP(net.IPv4(10, 0, 0, 9)),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 0, 0, 1))),
		dhcpv4.WithNetmask(net.CIDRMask(20, 32)),
		dhcpv4.WithLeaseTime(3600),
	}, mods...)...)
	if err != nil {
		t.Fatal(err)
	}
	p.OpCode = dhcpv4.OpcodeBootReply
	return p
}

func opt(code dhcpv4.OptionCode, b ...byte) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptGeneric(code, b))
}

func TestReadTerms(t *testing.T) {
	server := netip.MustParseAddr("10.0.0.1")
	lease := func(t1, t2, length time.Duration) *Lease {
		return &Lease{Server: server, Acquired: 7 * time.Second, T1: t1, T2: t2, Length: length}
	}
	hour := lease(30*time.Minute, 3150*time.Second, time.Hour)
	at := netip.MustParsePrefix("10.0.0.9/20")
	tests := []struct {
		name string
		mods []dhcpv4.Modifier
		want Result
		err  string
	}{
		{name: "plain", want: Result{Prefix: at, Lease: hour}},
		{name: "names and servers",
			mods: []dhcpv4.Modifier{
				dhcpv4.WithOption(dhcpv4.OptRouter(net.IPv4(10, 0, 0, 1), net.IPv4(10, 0, 0, 2))),
				dhcpv4.WithOption(dhcpv4.OptDNS(net.IPv4(10, 0, 0, 1), net.IPv4zero)),
				opt(dhcpv4.OptionDomainName, []byte("cluster.test.\x00")...), opt(dhcpv4.OptionHostName, []byte("n01")...),
				opt(dhcpv4.OptionInterfaceMTU, 0x23, 0x28),
			},
			want: Result{Prefix: at, Lease: hour, Gateway: server, DNS: []netip.Addr{server}, Domain: "cluster.test",
				Hostname: "n01", MTU: 9000}},
		{name: "names that would write into files",
			mods: []dhcpv4.Modifier{opt(dhcpv4.OptionDomainName, []byte("a\nnameserver 6.6.6.6")...),
				opt(dhcpv4.OptionHostName, []byte("$(reboot)")...)},
			want: Result{Prefix: at, Lease: hour}},
		{name: "own T1 and T2",
			mods: []dhcpv4.Modifier{opt(dhcpv4.OptionRenewTimeValue, 0, 0, 0, 60), opt(dhcpv4.OptionRebindingTimeValue, 0, 0, 0, 90)},
			want: Result{Prefix: at, Lease: lease(time.Minute, 90*time.Second, time.Hour)}},
		{name: "T2 before T1",
			mods: []dhcpv4.Modifier{opt(dhcpv4.OptionRenewTimeValue, 0, 0, 0, 90), opt(dhcpv4.OptionRebindingTimeValue, 0, 0, 0, 60)},
			want: Result{Prefix: at, Lease: lease(90*time.Second, 3150*time.Second, time.Hour)}},
		{name: "T1 after the end", mods: []dhcpv4.Modifier{opt(dhcpv4.OptionRenewTimeValue, 0, 0, 0xff, 0)},
			want: Result{Prefix: at, Lease: hour}},
		{name: "for ever", mods: []dhcpv4.Modifier{opt(dhcpv4.OptionIPAddressLeaseTime, 255, 255, 255, 255)},
			want: Result{Prefix: at, Lease: lease(Infinite, Infinite, Infinite)}},
		{name: "no lease time", mods: []dhcpv4.Modifier{opt(dhcpv4.OptionIPAddressLeaseTime)},
			want: Result{Prefix: at, Lease: hour}},
		{name: "no netmask: by class", mods: []dhcpv4.Modifier{opt(dhcpv4.OptionSubnetMask)},
			want: Result{Prefix: netip.MustParsePrefix("10.0.0.9/8"), Lease: hour}},
		{name: "gateway is itself", mods: []dhcpv4.Modifier{dhcpv4.WithOption(dhcpv4.OptRouter(net.IPv4(10, 0, 0, 9)))},
			want: Result{Prefix: at, Lease: hour}},
		{name: "tiny MTU", mods: []dhcpv4.Modifier{opt(dhcpv4.OptionInterfaceMTU, 0, 10)}, want: Result{Prefix: at, Lease: hour}},

		{name: "no address", mods: []dhcpv4.Modifier{dhcpv4.WithYourIP(net.IPv4zero)}, err: "proxyDHCP"},
		{name: "multicast", mods: []dhcpv4.Modifier{dhcpv4.WithYourIP(net.IPv4(224, 0, 0, 9))}, err: "224.0.0.9 cannot be a machine's"},
		{name: "no server", mods: []dhcpv4.Modifier{opt(dhcpv4.OptionServerIdentifier)}, err: "no server identifier"},
		{name: "mask with a hole", mods: []dhcpv4.Modifier{opt(dhcpv4.OptionSubnetMask, 255, 0, 255, 0)}, err: "netmask 255.0.255.0"},
		{name: "mask of nothing", mods: []dhcpv4.Modifier{opt(dhcpv4.OptionSubnetMask, 0, 0, 0, 0)}, err: "netmask 0.0.0.0"},
		{name: "short mask", mods: []dhcpv4.Modifier{opt(dhcpv4.OptionSubnetMask, 255)}, err: "netmask of 1 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := readTerms(ack(t, tt.mods...), 7*time.Second)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

// Whatever a server sends, what comes out can be configured and written to files.
func FuzzReadTerms(f *testing.F) {
	f.Add(ack(f).ToBytes())
	f.Add(ack(f, opt(dhcpv4.OptionRouter, 10, 0), opt(dhcpv4.OptionDomainName, '\n')).ToBytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := dhcpv4.FromBytes(b)
		if err != nil {
			return
		}
		r, err := readTerms(p, time.Second)
		if err != nil {
			return
		}
		l := r.Lease
		if !r.Prefix.IsValid() || !r.Prefix.Addr().Is4() || r.Prefix.Bits() == 0 || !l.Server.IsValid() {
			t.Errorf("%+v", r)
		}
		if l.T1 <= 0 || l.T1 > l.T2 || l.T2 > l.Length || l.Expires() < l.Acquired {
			t.Errorf("times %+v", l)
		}
		if strings.ContainsAny(r.Domain+r.Hostname, "\n\r \x00;/") {
			t.Errorf("names %q %q", r.Domain, r.Hostname)
		}
	})
}
