package vip

import (
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

var mac1 = net.HardwareAddr{2, 0, 0, 0, 0, 1}

// TestGolden is what is on the wire, without the Ethernet header. The checksums are from another program; TestMove shows that the kernel accepts them.
func TestGolden(t *testing.T) {
	v4, v6 := addr("10.77.0.100"), addr("fd77::100")
	for _, tt := range []struct {
		name string
		got  []datagram
		want []string
	}{
		{"announce IPv4", announcements(v4, mac1), []string{
			"0806 ffffffffffff 0001080006040001 020000000001 0a4d0064 000000000000 0a4d0064",
			"0806 ffffffffffff 0001080006040002 020000000001 0a4d0064 020000000001 0a4d0064",
		}},
		{"announce IPv6", announcements(v6, mac1), []string{
			"86dd 333300000001 6000000000203aff fd770000000000000000000000000100 ff020000000000000000000000000001" +
				"880057af 20000000 fd770000000000000000000000000100 0201020000000001",
		}},
		{"probe IPv4", []datagram{question(v4, netip.Addr{}, mac1)}, []string{
			"0806 ffffffffffff 0001080006040001 020000000001 00000000 000000000000 0a4d0064",
		}},
		{"ask IPv4", []datagram{question(v4, addr("10.77.0.1"), mac1)}, []string{
			"0806 ffffffffffff 0001080006040001 020000000001 0a4d0001 000000000000 0a4d0064",
		}},
		{"probe IPv6", []datagram{question(v6, netip.Addr{}, mac1)}, []string{
			"86dd 3333ff000100 6000000000183aff 00000000000000000000000000000000 ff0200000000000000000001ff000100" +
				"87007b30 00000000 fd770000000000000000000000000100",
		}},
		{"ask IPv6", []datagram{question(v6, addr("fd77::1"), mac1)}, []string{
			"86dd 3333ff000100 6000000000203aff fd770000000000000000000000000001 ff0200000000000000000001ff000100" +
				"87007aad 00000000 fd770000000000000000000000000100 0101020000000001",
		}},
	} {
		var got, want []string
		for _, d := range tt.got {
			got = append(got, hex.EncodeToString([]byte{byte(d.proto >> 8), byte(d.proto)})+d.toString()+hex.EncodeToString(d.payload))
		}
		for _, w := range tt.want {
			want = append(want, strings.ReplaceAll(w, " ", ""))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func (d datagram) toString() string { return hex.EncodeToString(d.to) }

func TestReadClaim(t *testing.T) {
	v4, v6 := addr("10.77.0.100"), addr("fd77::100")
	from := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	advert := announcements(v6, mac1)[0].payload
	change := func(b []byte, at int, to ...byte) []byte {
		b = append([]byte{}, b...)
		copy(b[at:], to)
		return b
	}
	bare := ip6(addr("fd77::1"), allNodes, nd(typeAdvertise, v6, 0, nil))
	for _, tt := range []struct {
		name  string
		proto uint16
		b     []byte
		want  string // empty: no claim
	}{
		{"gratuitous request", unix.ETH_P_ARP, announcements(v4, mac1)[0].payload, "10.77.0.100 02:00:00:00:00:01"},
		{"gratuitous reply", unix.ETH_P_ARP, announcements(v4, mac1)[1].payload, "10.77.0.100 02:00:00:00:00:01"},
		{"padded to the least length of Ethernet", unix.ETH_P_ARP, append(announcements(v4, mac1)[1].payload, make([]byte, 18)...), "10.77.0.100 02:00:00:00:00:01"},
		{"somebody who asks", unix.ETH_P_ARP, question(v4, addr("10.77.0.7"), mac1).payload, "10.77.0.7 02:00:00:00:00:01"},
		{"ARP probe", unix.ETH_P_ARP, question(v4, netip.Addr{}, mac1).payload, ""},
		{"ARP cut short", unix.ETH_P_ARP, announcements(v4, mac1)[0].payload[:27], ""},
		{"ARP of another network", unix.ETH_P_ARP, change(announcements(v4, mac1)[0].payload, 1, 6), ""},
		{"advertisement", unix.ETH_P_IPV6, advert, "fd77::100 02:00:00:00:00:01"},
		{"advertisement without an option", unix.ETH_P_IPV6, bare, "fd77::100 02:00:00:00:00:09"},
		{"solicitation", unix.ETH_P_IPV6, question(addr("fd77::5"), v6, mac1).payload, "fd77::100 02:00:00:00:00:01"},
		{"duplicate address detection", unix.ETH_P_IPV6, question(v6, netip.Addr{}, mac1).payload, ""},
		{"forwarded", unix.ETH_P_IPV6, change(advert, 7, 64), ""},
		{"a code", unix.ETH_P_IPV6, change(advert, 41, 1), ""},
		{"router advertisement", unix.ETH_P_IPV6, change(advert, 40, 134), ""},
		{"longer than it is", unix.ETH_P_IPV6, change(advert, 5, 33), ""},
		{"shorter than one", unix.ETH_P_IPV6, change(advert, 5, 23), ""},
		{"option of no length", unix.ETH_P_IPV6, change(advert, 65, 0), ""},
		{"option beyond the end", unix.ETH_P_IPV6, change(advert, 65, 2), ""},
		{"a group", unix.ETH_P_IPV6, change(advert, 48, 0xff), ""},
		{"another protocol", unix.ETH_P_IP, advert, ""},
		{"nothing", unix.ETH_P_IPV6, nil, ""},
	} {
		got := ""
		if c, ok := readClaim(tt.proto, from, tt.b); ok {
			got = c.addr.String() + " " + c.hardware().String()
		}
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// FuzzReadClaim: no input breaks it, and what it accepts is an address that a machine can have.
func FuzzReadClaim(f *testing.F) {
	for _, d := range append(announcements(addr("10.77.0.100"), mac1), announcements(addr("fd77::100"), mac1)...) {
		f.Add(d.proto == unix.ETH_P_ARP, d.payload)
	}
	q := question(addr("fd77::100"), addr("fd77::1"), mac1)
	f.Add(false, q.payload)
	f.Fuzz(func(t *testing.T, arp bool, b []byte) {
		proto := uint16(unix.ETH_P_IPV6)
		if arp {
			proto = unix.ETH_P_ARP
		}
		c, ok := readClaim(proto, mac1, b)
		if ok && (!c.addr.IsValid() || c.addr.IsUnspecified() || c.addr.Is4() != arp) {
			t.Errorf("accepted %v from %x", c, b)
		}
	})
}
