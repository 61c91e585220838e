package dns

import (
	"net"
	"net/netip"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
)

// freePort finds a port of an address that is free for UDP and TCP.
func freePort(t testing.TB, address string) netip.AddrPort {
	t.Helper()
	for range 20 {
		l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
		if err != nil {
			t.Fatal(err)
		}
		at := netip.MustParseAddrPort(l.Addr().String())
		u, err := net.ListenPacket("udp", at.String())
		l.Close()
		if err == nil {
			u.Close()
			return at
		}
	}
	t.Fatal("no port free")
	return netip.AddrPort{}
}

// waitUntilServed asks until there is any answer.
func waitUntilServed(t testing.TB, at netip.AddrPort) {
	t.Helper()
	client := miekg.Client{Timeout: 100 * time.Millisecond}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if _, _, err := client.Exchange(new(miekg.Msg).SetQuestion("localhost.", miekg.TypeA), at.String()); err == nil {
			return
		}
	}
	t.Fatalf("nobody answers on %s", at)
}

// ask asks by network, udp or tcp.
func ask(t testing.TB, network string, at netip.AddrPort, m *miekg.Msg) *miekg.Msg {
	t.Helper()
	client := miekg.Client{Net: network, Timeout: 10 * time.Second}
	reply, _, err := client.Exchange(m, at.String())
	if err != nil {
		t.Fatalf("%s %s: %v", network, m.Question[0].Name, err)
	}
	return reply
}
