package dns

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testLog(t testing.TB) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

// book is Names of a test.
type book struct {
	hosts map[string][]netip.Addr
	heads []string
}

func (b book) Addresses(host string) []netip.Addr { return b.hosts[host] }
func (b book) Heads() []string                    { return b.heads }
func (b book) Host(a netip.Addr) (string, bool) {
	for name, addrs := range b.hosts {
		if slices.Contains(addrs, a) {
			return name, true
		}
	}
	return "", false
}

var cluster = book{
	hosts: map[string][]netip.Addr{
		"head1": {ip("10.77.0.1")}, "head2": {ip("10.77.0.2"), ip("fd00:77::2")},
		"n01": {ip("10.77.0.101")}, "n02": {ip("10.88.3.9")},
		parentHost: {ip("10.77.0.1")}, // a machine that somebody called so
	},
	heads: []string{"head1", "head2"},
}

func testConfig() Config {
	return Config{
		Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, Domain: "Cluster",
		Networks: []netip.Prefix{netip.MustParsePrefix("10.77.0.1/24"), netip.MustParsePrefix("10.88.0.0/22"), netip.MustParsePrefix("fd00:77::/64")},
		Lookup:   func() Names { return cluster },
	}
}

// newServer makes a Server that does not listen.
func newServer(t testing.TB, change func(*Config)) *Server {
	t.Helper()
	c := testConfig()
	if change != nil {
		change(&c)
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// start runs a Server on a port of its own on 127.0.0.1 and ::1, and gives the first address.
func start(t testing.TB, change func(*Config)) netip.AddrPort {
	t.Helper()
	c := testConfig()
	at := freePort(t, "127.0.0.1")
	c.Listen = []netip.AddrPort{at, netip.AddrPortFrom(netip.IPv6Loopback(), at.Port())}
	if change != nil {
		change(&c)
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
	waitUntilServed(t, c.Listen[0])
	return c.Listen[0]
}
