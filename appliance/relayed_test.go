package appliance

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"masthead/appliance/dhcp"
)

func relayed(prefix, from, to, router string) dhcp.Subnet {
	n := dhcp.Subnet{Prefix: netip.MustParsePrefix(prefix)}
	if from != "" {
		n.Pool = dhcp.Range{From: netip.MustParseAddr(from), To: netip.MustParseAddr(to)}
	}
	if router != "" {
		n.Router = netip.MustParseAddr(router)
	}
	return n
}

func TestParseRelayed(t *testing.T) {
	const prefix, from, to, router = "10.88.0.0/24", "10.88.0.100", "10.88.0.200", "10.88.0.1"
	for _, tc := range []struct {
		text string
		want dhcp.Subnet
		err  string // part of it; empty: valid
	}{
		{text: prefix + "," + from + "-" + to + "," + router, want: relayed(prefix, from, to, router)},
		{text: prefix + "," + from + "-" + to, want: relayed(prefix, from, to, "")},
		{text: prefix + "," + router, want: relayed(prefix, "", "", router)},
		{text: prefix, want: relayed(prefix, "", "", "")},
		{text: "", err: `"": want a network such as 10.88.0.0/24`},
		{text: "10.88.0.0", err: "want a network such as"},
		{text: "10.88.0.7/24", err: "want the network itself, 10.88.0.0/24"},
		{text: prefix + ",", err: `"": want FROM-TO, then the address of its router`},
		{text: prefix + ",10.88.0.100-200", err: `"10.88.0.100-200": want the first and the last address`},
		{text: prefix + ",x-" + to, err: "want the first and the last address"},
		{text: prefix + "," + from + "-" + to + ",gw", err: `"gw": want FROM-TO, then the address`},
		{text: prefix + "," + router + "," + from + "-" + to, err: "want the first and the last address"},
		{text: prefix + "," + from + "-" + to + "," + router + ",more", err: `"10.88.0.1,more": want FROM-TO, then`},
	} {
		got, err := ParseRelayed(tc.text)
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("ParseRelayed(%q) = %v, want error %q", tc.text, err, tc.err)
			}
			continue
		}
		if diff := cmp.Diff(tc.want, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); err != nil || diff != "" {
			t.Errorf("ParseRelayed(%q): %v\n%s", tc.text, err, diff)
		}
	}
}

func TestRelayedConfig(t *testing.T) {
	good := relayed("10.88.0.0/24", "10.88.0.100", "10.88.0.200", "10.88.0.1")
	for _, tc := range []struct {
		name  string
		iface string
		nets  []dhcp.Subnet
		want  string // part of the error; empty: valid
	}{
		{"none", "", nil, ""},
		{"good", "eth0", []dhcp.Subnet{good, relayed("10.89.0.0/24", "", "", "")}, ""},
		{"no interface", "", []dhcp.Subnet{good}, "no interface to serve them on"},
		{"our own", "eth0", []dhcp.Subnet{relayed("10.77.0.0/16", "", "", "")}, "overlaps 10.77.0.0/24"},
		{"twice", "eth0", []dhcp.Subnet{good, good}, "overlaps 10.88.0.0/24"},
		{"pool outside", "eth0", []dhcp.Subnet{relayed("10.88.0.0/24", "10.88.1.1", "10.88.1.9", "")}, "both ends must be hosts of 10.88.0.0/24"},
		{"pool backwards", "eth0", []dhcp.Subnet{relayed("10.88.0.0/24", "10.88.0.9", "10.88.0.1", "")}, "ends before it starts"},
		{"router outside", "eth0", []dhcp.Subnet{relayed("10.88.0.0/24", "", "", "10.77.0.1")}, "is not a host of 10.88.0.0/24"},
		{"IPv6", "eth0", []dhcp.Subnet{relayed("fd00::/64", "", "", "")}, "want an IPv4 prefix"},
	} {
		cfg := DefaultConfig()
		cfg.Name, cfg.Interface, cfg.Relayed = "head1", tc.iface, tc.nets
		if tc.iface != "" {
			cfg.Address = netip.MustParsePrefix("10.77.0.1/24")
		}
		_, err := cfg.complete()
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}

// A node behind a relay may have an address reserved there.
func TestReservationBehindRelay(t *testing.T) {
	h, c := newHead(t, func(cfg *Config) {
		cfg.Interface, cfg.Address = "eth0", netip.MustParsePrefix("10.77.0.1/24")
		cfg.Relayed = []dhcp.Subnet{relayed("10.88.0.0/24", "", "", "10.88.0.1")}
	})
	addNode(t, c, "n01", macA, "10.88.0.11")
	if n, err := c.Node(t.Context(), "n01"); err != nil || n.Address != netip.MustParseAddr("10.88.0.11") {
		t.Errorf("%+v, %v", n, err)
	}
	got, err := h.dhcpConfig(dhcp.ModeServer).Complete()
	if err != nil || len(got.Relayed) != 1 || got.Relayed[0].Router != netip.MustParseAddr("10.88.0.1") {
		t.Errorf("the DHCP server's configuration: %+v, %v", got, err)
	}
}
