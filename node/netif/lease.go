package netif

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Lease is a promise of a DHCP server. Times count from the kernel's start (CLOCK_BOOTTIME), which neither jumps when
// the machine learns the time of day nor differs between init and the agent.
type Lease struct {
	Server   netip.Addr    `json:"server"`
	Acquired time.Duration `json:"acquired"`
	T1       time.Duration `json:"t1"`     // after Acquired: ask the server again
	T2       time.Duration `json:"t2"`     // after Acquired: ask any server
	Length   time.Duration `json:"length"` // after Acquired: over; Infinite: never
}

// Infinite is the length of a lease that does not end (0xffffffff, RFC 2131, 3.3).
const Infinite = time.Duration(math.MaxInt64)

// assumedLease stands in for a missing lease time, which RFC 2131 requires but some servers forget.
const assumedLease = time.Hour

// Expires is when the lease ends, since the kernel's start; Infinite if never.
func (l Lease) Expires() time.Duration {
	if l.Length == Infinite || l.Length > Infinite-l.Acquired {
		return Infinite
	}
	return l.Acquired + l.Length
}

// readTerms reads an OFFER or ACK. The error says why a machine cannot live with it.
func readTerms(p *dhcpv4.DHCPv4, now time.Duration) (Result, error) {
	addr, ok := unicast4(p.YourIPAddr)
	if !ok {
		if p.YourIPAddr == nil || p.YourIPAddr.IsUnspecified() {
			return Result{}, errors.New("no address in it, as from a proxyDHCP server")
		}
		return Result{}, fmt.Errorf("address %v cannot be a machine's", p.YourIPAddr)
	}
	server, ok := unicast4(net.IP(p.Options.Get(dhcpv4.OptionServerIdentifier)))
	if !ok {
		return Result{}, errors.New("no server identifier in it")
	}
	bits, err := maskBits(p.Options.Get(dhcpv4.OptionSubnetMask), addr)
	if err != nil {
		return Result{}, err
	}
	r := Result{
		Prefix:   netip.PrefixFrom(addr, bits),
		DNS:      addrs(p, dhcpv4.OptionDomainNameServer),
		NTP:      addrs(p, dhcpv4.OptionNTPServers),
		Domain:   dnsName(p.Options.Get(dhcpv4.OptionDomainName)),
		Hostname: dnsName(p.Options.Get(dhcpv4.OptionHostName)),
		Lease:    times(p),
	}
	r.Lease.Server, r.Lease.Acquired = server, now
	if gw := addrs(p, dhcpv4.OptionRouter); len(gw) > 0 && gw[0] != addr {
		r.Gateway = gw[0]
	}
	// RFC 2132, 5.1 gives 68 as the least; RFC 791 wants 576 for a host that others can talk to.
	if b := p.Options.Get(dhcpv4.OptionInterfaceMTU); len(b) == 2 {
		if mtu := binary.BigEndian.Uint16(b); mtu >= 576 {
			r.MTU = int(mtu)
		}
	}
	return r, nil
}

// times reads the lease's times and puts T1 and T2 that make no sense where RFC 2131, 4.4.5 has them by default.
func times(p *dhcpv4.DHCPv4) *Lease {
	seconds := func(code dhcpv4.OptionCode) (time.Duration, bool) {
		b := p.Options.Get(code)
		if len(b) != 4 {
			return 0, false
		}
		n := binary.BigEndian.Uint32(b)
		if n == math.MaxUint32 {
			return Infinite, true
		}
		return time.Duration(n) * time.Second, true
	}
	length, ok := seconds(dhcpv4.OptionIPAddressLeaseTime)
	if !ok || length == 0 {
		length = assumedLease
	}
	if length == Infinite {
		return &Lease{T1: Infinite, T2: Infinite, Length: Infinite}
	}
	t1, _ := seconds(dhcpv4.OptionRenewTimeValue)
	t2, _ := seconds(dhcpv4.OptionRebindingTimeValue)
	if t1 <= 0 || t1 >= length {
		t1 = length / 2
	}
	if t2 <= t1 || t2 >= length {
		t2 = max(t1, length/8*7)
	}
	return &Lease{T1: t1, T2: t2, Length: length}
}

func maskBits(mask []byte, addr netip.Addr) (int, error) {
	if len(mask) == 0 {
		// As a classful client would; a server without the option serves nothing smaller.
		bits, _ := net.IP(addr.AsSlice()).DefaultMask().Size()
		if bits == 0 {
			return 0, fmt.Errorf("no netmask for %v in it", addr)
		}
		return bits, nil
	}
	if len(mask) != 4 {
		return 0, fmt.Errorf("netmask of %d bytes", len(mask))
	}
	bits, size := net.IPMask(mask).Size()
	if size == 0 || bits == 0 {
		return 0, fmt.Errorf("netmask %s", net.IP(mask))
	}
	return bits, nil
}

func unicast4(ip net.IP) (netip.Addr, bool) {
	a, ok := netip.AddrFromSlice(ip)
	a = a.Unmap()
	if !ok || !a.Is4() || a.IsUnspecified() || a.IsLoopback() || a.As4()[0] == 0 || a.As4()[0] >= 224 {
		return netip.Addr{}, false
	}
	return a, true
}

func addrs(p *dhcpv4.DHCPv4, code dhcpv4.OptionCode) []netip.Addr {
	var out []netip.Addr
	for b := p.Options.Get(code); len(b) >= 4; b = b[4:] {
		if a, ok := unicast4(net.IP(b[:4])); ok {
			out = append(out, a)
		}
	}
	return out
}

// dnsName lets through only what may stand in a name: it goes into resolv.conf and sethostname.
func dnsName(b []byte) string {
	s := strings.TrimRight(string(b), "\x00.")
	bad := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_')
	}
	if len(s) > 253 || strings.ContainsFunc(s, bad) {
		return ""
	}
	return s
}
