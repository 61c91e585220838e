package ndp

import (
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	self     = net.HardwareAddr{2, 0, 0, 0, 0, 0xfe}
	infini   = net.HardwareAddr{0x80, 0, 0, 0x48, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 2, 0xc9, 3, 0, 1, 2, 3}
	neighbor = netip.MustParseAddr("fe80::1")
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAnswer(t *testing.T) {
	const (
		bare    = "85 00 1234 00000000"
		source  = " 01 01 020000000001"
		unknown = " fd 02 0000000000000000000000000000"
		reply   = "86 00 0000 00 00 0000 00000000 00000000 01 01 0200000000fe"
	)
	for _, tt := range []struct {
		name   string
		packet string
		hop    int
		src    string
		self   net.HardwareAddr
		want   string // empty: no answer
	}{
		{"iPXE", bare + source, 255, "fe80::1", self, reply},
		{"without options", bare, 255, "fe80::1", self, reply},
		{"with a zone", bare + source, 255, "fe80::1%lan0", self, reply},
		{"unspecified", bare, 255, "::", self, reply},
		{"of a network", bare + source, 255, "2001:db8::1", self, reply},
		{"unknown option", bare + unknown + source, 255, "fe80::1", self, reply},
		{"reserved bits", "85 00 0000 ffffffff", 255, "fe80::1", self, reply},
		{"InfiniBand", bare, 255, "fe80::1", infini, "86 00 0000 00 00 0000 00000000 00000000 01 03 80000048fe8000000000000000 02c90300010203 0000"},
		{"no address of ours", bare, 255, "fe80::1", nil, "86 00 0000 00 00 0000 00000000 00000000"},

		{"forwarded", bare + source, 254, "fe80::1", self, ""},
		{"hop limit unknown", bare + source, 0, "fe80::1", self, ""},
		{"unspecified with its address", bare + source, 255, "::", self, ""},
		{"multicast source", bare, 255, "ff02::1", self, ""},
		{"loopback source", bare, 255, "::1", self, ""},
		{"IPv4 source", bare, 255, "192.0.2.1", self, ""},
		{"IPv4-mapped source", bare, 255, "::ffff:192.0.2.1", self, ""},
		{"code", "85 01 0000 00000000", 255, "fe80::1", self, ""},
		{"advertisement", reply, 255, "fe80::1", self, ""},
		{"empty", "", 255, "fe80::1", self, ""},
		{"short", "85 00 0000 000000", 255, "fe80::1", self, ""},
		{"option without length", bare + " 01 00 020000000001", 255, "fe80::1", self, ""},
		{"option cut", bare + " 01 02 020000000001", 255, "fe80::1", self, ""},
		{"half an option", bare + source + " 01", 255, "fe80::1", self, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := Answer(unhex(t, tt.packet), tt.hop, netip.MustParseAddr(tt.src), tt.self)
			if ok != (tt.want != "") {
				t.Errorf("answered: %v", ok)
			}
			if diff := cmp.Diff(hex.EncodeToString(unhex(t, tt.want)), hex.EncodeToString(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if _, ok := Answer(unhex(t, bare), 255, netip.Addr{}, self); ok {
		t.Error("answered an unknown source")
	}
}

func TestClaims(t *testing.T) {
	const (
		prefix = " 03 04 40 c0 00000e10 00000e10 00000000 20010db8000000000000000000000000"
		dns    = " 19 03 0000 00000e10 20010db8000000000000000000000001"
	)
	ra := func(flags, lifetime, options string) string {
		return "86 00 0000 40" + flags + lifetime + "00000000 00000000" + options
	}
	for _, tt := range []struct {
		name   string
		packet string
		hop    int
		src    string
		want   time.Duration
	}{
		{"router", ra("00", "0708", prefix), 255, "fe80::1", 30 * time.Minute},
		{"longest", ra("00", "ffff", ""), 255, "fe80::1", 65535 * time.Second},
		{"prefix only", ra("00", "0000", prefix), 255, "fe80::1", withoutLifetime},
		{"managed", ra("80", "0000", ""), 255, "fe80::1", withoutLifetime},
		{"other", ra("40", "0000", ""), 255, "fe80::1", withoutLifetime},
		{"of another head", ra("00", "0000", " 01 01 0200000000fe"), 255, "fe80::1", 0},
		{"name server only", ra("00", "0000", dns), 255, "fe80::1", 0},

		{"forwarded", ra("00", "0708", ""), 64, "fe80::1", 0},
		{"not link-local", ra("00", "0708", ""), 255, "2001:db8::1", 0},
		{"broken option", ra("00", "0708", " 03 00 000000000000"), 255, "fe80::1", 0},
		{"short", "86 00 0000 40 00 0708 00000000 000000", 255, "fe80::1", 0},
		{"code", "86 01 0000 40 00 0708 00000000 00000000", 255, "fe80::1", 0},
		{"solicitation", "85 00 0000 40 00 0708 00000000 00000000", 255, "fe80::1", 0},
	} {
		if got := claims(unhex(t, tt.packet), tt.hop, netip.MustParseAddr(tt.src)); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestSolicitationIsAnswered(t *testing.T) {
	got := message(typeSolicitation, solicitationLen, self)
	if diff := cmp.Diff(unhex(t, "85 00 0000 00000000 01 01 0200000000fe"), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, ok := Answer(got, onLink, neighbor, self); !ok {
		t.Error("our own solicitation is not valid")
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(unhex(f, "8500000000000000 0101020000000001"), 255, neighbor.AsSlice())
	f.Add(unhex(f, "8500000000000000"), 255, netip.IPv6Unspecified().AsSlice())
	f.Add(unhex(f, "86000000400007080000000000000000 0101020000000001"), 255, neighbor.AsSlice())
	f.Fuzz(func(t *testing.T, packet []byte, hop int, from []byte) {
		src, _ := netip.AddrFromSlice(from)
		reply, ok := Answer(packet, hop, src, self)
		lasts := claims(packet, hop, src)
		if ok && lasts != 0 {
			t.Fatal("a solicitation and an advertisement at once")
		}
		if ok != (reply != nil) {
			t.Fatalf("ok %v, reply %x", ok, reply)
		}
		// Whatever comes, what goes out makes nobody silent and configures nothing.
		if ok && claims(reply, onLink, neighbor) != 0 {
			t.Fatalf("%x says something", reply)
		}
	})
}
