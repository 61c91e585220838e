package dns

import (
	"net/netip"
	"strconv"
	"strings"

	miekg "github.com/miekg/dns"
)

// tree is one of the two trees of reverse names: IPv4's has a label for each octet (RFC 1035, 3.5), IPv6's one for each
// half octet (RFC 3596, 2.5).
type tree struct {
	suffix string
	step   int // bits of a label
	bits   int // of an address
}

var (
	tree4 = tree{"in-addr.arpa.", 8, 32}
	tree6 = tree{"ip6.arpa.", 4, 128}
)

func treeOf(a netip.Addr) tree {
	if a.Is4() {
		return tree4
	}
	return tree6
}

// reverseName is a name in one of the trees.
type reverseName struct {
	tree
	prefix netip.Prefix // what its labels say, read from the right as far as they are numbers
	below  bool         // there are labels in front of these
}

// parseReverse reads a canonical name; ok is false if it is in neither tree.
func parseReverse(name string) (r reverseName, ok bool) {
	for _, t := range []tree{tree4, tree6} {
		if !miekg.IsSubDomain(t.suffix, name) {
			continue
		}
		var address [16]byte
		labels := miekg.SplitDomainName(strings.TrimSuffix(name, t.suffix))
		n := 0
		for ; n < len(labels) && n < t.bits/t.step; n++ {
			v, ok := t.label(labels[len(labels)-1-n])
			if !ok {
				break
			}
			if t.step == 8 {
				address[n] = v
			} else {
				address[n/2] |= v << (4 * (1 - n%2))
			}
		}
		a, _ := netip.AddrFromSlice(address[:t.bits/8])
		return reverseName{t, netip.PrefixFrom(a, n*t.step), n < len(labels)}, true
	}
	return reverseName{}, false
}

// label reads a label in the one form that a name has: 7 is no 007.
func (t tree) label(s string) (byte, bool) {
	base := 10
	if t.step == 4 {
		base = 16
		if len(s) != 1 {
			return 0, false
		}
	}
	v, err := strconv.ParseUint(s, base, t.step)
	if err != nil || len(s) > 1 && s[0] == '0' || s[0] == '+' {
		return 0, false
	}
	return byte(v), true
}

// name is the name of a prefix whose bits are a multiple of the tree's step.
func (t tree) name(p netip.Prefix) string {
	a := p.Addr().AsSlice()
	var b strings.Builder
	for n := p.Bits()/t.step - 1; n >= 0; n-- {
		if t.step == 8 {
			b.WriteString(strconv.Itoa(int(a[n])))
		} else {
			b.WriteString(strconv.FormatUint(uint64(a[n/2]>>(4*(1-n%2))&15), 16))
		}
		b.WriteByte('.')
	}
	return b.String() + t.suffix
}

// zone is the zone of a network that holds an address: a network whose bits do not end with a label is several zones.
func (t tree) zone(network netip.Prefix, a netip.Addr) netip.Prefix {
	bits := (network.Bits() + t.step - 1) / t.step * t.step
	return netip.PrefixFrom(a, bits).Masked()
}

// localPrefixes are the networks whose reverse names no resolver of the Internet knows. They are answered by us, as every
// resolver should (RFC 6303, 4; RFC 7793): to ask on would tell others of our machines, and mostly ends in a timeout.
var localPrefixes = prefixes("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
	"192.0.2.0/24", "192.168.0.0/16", "198.51.100.0/24", "203.0.113.0/24", "255.255.255.255/32",
	"::/128", "::1/128", "2001:db8::/32", "fd00::/8", "fe80::/10")

func prefixes(all ...string) []netip.Prefix {
	list := make([]netip.Prefix, len(all))
	for i, s := range all {
		list[i] = netip.MustParsePrefix(s)
	}
	return list
}
