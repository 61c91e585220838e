package dhcp

import (
	"encoding/hex"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

var update = flag.Bool("update", false, "write the golden files")

// The packets in testdata were captured from the real programs that their names tell.
func captured(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".hex"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.ReplaceAll(string(text), "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func decoded(t testing.TB, name string, change ...func(*dhcpv4.DHCPv4)) *dhcpv4.DHCPv4 {
	t.Helper()
	p, err := dhcpv4.FromBytes(captured(t, name))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(p)
	}
	return p
}

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

var fromClient = Ingress{Source: netip.MustParseAddrPort("0.0.0.0:68"), Port: serverPort}

func complete(t testing.TB, c Config, change ...func(*Config)) Config {
	t.Helper()
	for _, f := range change {
		f(&c)
	}
	c, err := c.Complete()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func mac(t testing.TB, p *dhcpv4.DHCPv4) MAC {
	t.Helper()
	m, ok := MACFrom(p.ClientHWAddr)
	if !ok {
		t.Fatalf("bad MAC %v", p.ClientHWAddr)
	}
	return m
}

// relayed makes a packet one that a relay agent passed on.
func relayed(giaddr string, sub ...dhcpv4.Option) func(*dhcpv4.DHCPv4) {
	return func(p *dhcpv4.DHCPv4) {
		p.GatewayIPAddr = ip(giaddr).AsSlice()
		p.HopCount = 1
		sub = append([]dhcpv4.Option{dhcpv4.OptGeneric(dhcpv4.AgentCircuitIDSubOption, []byte("port 7"))}, sub...)
		p.UpdateOption(dhcpv4.OptRelayAgentInfo(sub...))
	}
}

func behindRelay(c *Config) {
	c.Relayed = []Subnet{{
		Prefix: netip.MustParsePrefix("10.20.0.0/16"),
		Pool:   Range{ip("10.20.1.0"), ip("10.20.1.255")},
		Router: ip("10.20.0.1"),
	}}
}

func (d Decision) String() string {
	var b strings.Builder
	event := func(name string, e Event) {
		if e.Kind != "" {
			fmt.Fprintf(&b, "%s: %s mac=%s ip=%v arch=%q class=%q detail=%q\n", name, e.Kind, e.MAC, e.IP, e.Arch, e.UserClass, e.Detail)
		}
	}
	event("heard", d.Heard)
	event("outcome", d.Outcome)
	if d.Probe.IsValid() {
		fmt.Fprintf(&b, "probe: %v\n", d.Probe)
	}
	if l := d.Lease; l != nil {
		fmt.Fprintf(&b, "lease: %v %s %s for %v id=%s uuid=%s host=%s\n", l.IP, l.MAC, l.State, l.Expires.Sub(l.Renewed), l.ClientID, l.UUID, l.Hostname)
	}
	if d.Reply != nil {
		fmt.Fprintf(&b, "to: %v link=%v\n%s", d.To.Addr, d.To.Link, d.Reply.Summary())
	}
	return b.String()
}

func TestAnswerGolden(t *testing.T) {
	proxy := func(c *Config) { c.Mode = ModeProxy }
	reserve := func(r Reservation) func(*memory, MAC) {
		return func(m *memory, mac MAC) { m.reservations[mac] = r }
	}
	for _, tt := range []struct {
		name   string
		input  string
		change func(*dhcpv4.DHCPv4)
		config func(*Config)
		in     Ingress
		db     func(*memory, MAC)
	}{
		{name: "linux-pool", input: "udhcpc-discover"},
		{name: "linux-dhclient", input: "dhclient-discover"},
		{name: "linux-reserved", input: "udhcpc-discover", db: reserve(Reservation{IP: ip("10.9.0.17"), Hostname: "n17"})},
		{name: "linux-ack", input: "udhcpc-request", db: reserve(Reservation{IP: ip("10.9.0.180"), Hostname: "n80"})},
		{name: "linux-nak", input: "udhcpc-request", db: reserve(Reservation{IP: ip("10.9.0.17")})},
		{name: "linux-relayed", input: "udhcpc-discover", change: relayed("10.20.0.1"), config: behindRelay},
		{name: "ipxe-bios", input: "ipxe-bios-discover"},
		{name: "ipxe-efi", input: "ipxe-efi-discover"},
		{name: "ovmf-pxe", input: "ovmf-pxe-discover"},
		{name: "ovmf-pxe-ack", input: "ovmf-pxe-request"},
		{name: "ovmf-http", input: "ovmf-http-discover"},
		{name: "proxy-ovmf-pxe", input: "ovmf-pxe-discover", config: proxy},
		{name: "proxy-ovmf-http", input: "ovmf-http-discover", config: proxy},
		{name: "proxy-ipxe", input: "ipxe-bios-discover", config: proxy},
		{
			name: "proxy-4011", input: "ovmf-pxe-request", config: proxy,
			in: Ingress{Source: netip.MustParseAddrPort("10.9.0.50:4011"), Port: proxyPort, Unicast: true},
			change: func(p *dhcpv4.DHCPv4) {
				p.ClientIPAddr = ip("10.9.0.50").AsSlice()
				p.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionVendorSpecificInformation, []byte{71, 4, 0, 0, 0, 0, 255}))
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := complete(t, lan)
			if tt.config != nil {
				c = complete(t, lan, tt.config)
			}
			req := decoded(t, tt.input)
			if tt.change != nil {
				tt.change(req)
			}
			if tt.in.Port == 0 {
				tt.in = fromClient
			}
			db := newMemory()
			if tt.db != nil {
				tt.db(db, mac(t, req))
			}
			d := c.Answer(req, tt.in, db, noon)
			if d.Reply != nil {
				// What is compared is what the client gets.
				back, err := dhcpv4.FromBytes(d.Reply.ToBytes())
				if err != nil {
					t.Fatalf("reply does not decode: %v", err)
				}
				d.Reply = back
			}
			got := d.String()
			file := filepath.Join("testdata", tt.name+".golden")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
