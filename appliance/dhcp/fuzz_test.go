package dhcp

import (
	"context"
	"encoding/hex"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzAnswer takes bytes through decoding and deciding, with two machines that have leases already.
func FuzzAnswer(f *testing.F) {
	files, err := filepath.Glob("testdata/*.hex")
	if err != nil || len(files) == 0 {
		f.Fatal("no packets in testdata", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		b, err := hex.DecodeString(strings.ReplaceAll(string(text), "\n", ""))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, false, false)
		f.Add(b, true, false)
		f.Add(b[:len(b)/2], false, false)
		f.Add(b, false, true)
	}
	server := complete(f, lan, behindRelay)
	proxy := complete(f, lan, func(c *Config) { c.Mode = ModeProxy })
	f.Fuzz(func(t *testing.T, b []byte, unicast, asProxy bool) {
		c := server
		if asProxy {
			c = proxy
		}
		db := newMemory()
		db.reservations[bob] = Reservation{IP: ip("10.9.0.20"), Hostname: "bob"}
		db.leases[ip("10.9.0.150")] = bound(alice, "10.9.0.150")
		db.leases[ip("10.9.0.151")] = bound(bob, "10.9.0.151")
		port := uint16(serverPort)
		if asProxy && unicast {
			port = proxyPort
		}
		s, err := New(c, db, db)
		if err != nil {
			t.Fatal(err)
		}
		before := map[netip.Addr]Lease{}
		for a, l := range db.leases {
			before[a] = l
		}
		told := 0
		s.Event = func(e Event) {
			told++
			for _, text := range []string{e.Arch, e.UserClass, e.Detail} {
				if len(text) > 512 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
					t.Errorf("event carries %q", text)
				}
			}
		}
		nobody := func(context.Context, netip.Addr) (MAC, bool, error) { return MAC{}, false, nil }
		sent := 0
		s.handle(context.Background(), b, Ingress{Source: netip.MustParseAddrPort("10.9.0.9:68"), Unicast: unicast, Port: port}, nobody, func(to Destination, p []byte) error {
			sent++
			if len(p) > maxPacket-frameHeaders {
				t.Errorf("reply of %d bytes", len(p))
			}
			if yi := netip.AddrFrom4([4]byte(p[16:20])); !yi.IsUnspecified() {
				n, ok := server.subnetOf(yi)
				if !ok || asProxy || (!n.Pool.contains(yi) && yi != ip("10.9.0.20")) {
					t.Errorf("gave out %v", yi)
				}
				if l, ok := before[yi]; ok && l.MAC != MAC(p[28:34]) {
					t.Errorf("gave %v, which is %v's, to %x", yi, l.MAC, p[28:34])
				}
			}
			return nil
		})
		if sent > 1 || (sent == 1 && told == 0) {
			t.Errorf("%d replies, %d events", sent, told)
		}
		for a, l := range db.leases {
			if old, ok := before[a]; ok && l.MAC != old.MAC && l.Cause != old.MAC {
				t.Errorf("lease of %v went from %v to %v", a, old.MAC, l.MAC)
			}
		}
	})
}

// FuzzFrame reads arbitrary frames; what it makes of them has to survive being built again.
func FuzzFrame(f *testing.F) {
	f.Add(datagram{alice, bob, netip.MustParseAddrPort("10.9.0.1:67"), netip.MustParseAddrPort("10.9.0.2:68"), []byte("hello")}.encode())
	f.Add(encodeARPProbe(alice, ip("10.9.0.1")))
	f.Fuzz(func(t *testing.T, b []byte) {
		decodeARP(b)
		d, err := decodeFrame(b)
		if err != nil {
			return
		}
		again, err := decodeFrame(d.encode())
		if err != nil || again.src != d.src || again.dst != d.dst || string(again.payload) != string(d.payload) {
			t.Errorf("%+v became %+v (%v)", d, again, err)
		}
	})
}
