package dns

import (
	"net/netip"
	"strings"

	miekg "github.com/miekg/dns"
)

// entry is what we say of a name: of one of our zones, or of those that nobody outside may be asked for.
type entry struct {
	zone   string       // apex of the zone that it is in
	exists bool         // the name is there, though perhaps not with the type that was asked for
	addrs  []netip.Addr // of a host
	host   string       // that an address belongs to, fully qualified
}

// zones says which names are not the forwarders'. It is pure: names is the state of the moment.
type zones struct {
	domain   string // canonical
	networks []netip.Prefix
}

// parentHost is another machine for each node, so no answer would be right for all.
const parentHost = "parent-head-node"

// find gives what is known of a canonical name; ok is false if it is a name of others.
func (z zones) find(name string, names Names) (e entry, ok bool) {
	if name == z.domain {
		return entry{zone: z.domain, exists: true}, true
	}
	if host, ok := strings.CutSuffix(name, "."+z.domain); ok {
		e := entry{zone: z.domain}
		if host != parentHost {
			e.addrs = names.Addresses(host)
		}
		e.exists = len(e.addrs) > 0
		return e, true
	}
	if r, ok := parseReverse(name); ok {
		return z.reverse(r, names)
	}
	return special(name)
}

// special are the names that are the same everywhere and so no business of a resolver's (RFC 6761, 6.3 and 6.4).
func special(name string) (entry, bool) {
	for _, apex := range []string{"localhost.", "invalid."} {
		if !miekg.IsSubDomain(apex, name) {
			continue
		}
		e := entry{zone: apex, exists: name == apex}
		if apex == "localhost." {
			e.exists, e.addrs = true, []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}
		}
		return e, true
	}
	return entry{}, false
}

// reverse looks a reverse name up in the zones of our networks, then in those of private ones.
func (z zones) reverse(r reverseName, names Names) (entry, bool) {
	address := r.prefix.Addr()
	above := false // a zone of ours is below the name
	for _, n := range z.networks {
		if treeOf(n.Addr()) != r.tree {
			continue
		}
		zone := r.zone(n, address)
		if r.prefix.Bits() < zone.Bits() {
			above = above || !r.below && r.prefix.Overlaps(n)
			continue
		}
		if !n.Overlaps(zone) {
			continue
		}
		e := entry{zone: r.name(zone)}
		switch {
		case r.below:
		case r.prefix.Bits() < r.bits:
			// The apex, or a name on the way to addresses. Whether any machine is below it makes no difference to anybody:
			// it is said to be there.
			e.exists = true
		default:
			host, known := names.Host(address)
			if known {
				e.host = host + "." + z.domain
			}
			e.exists = known || zone == r.prefix
		}
		return e, true
	}
	for _, n := range localPrefixes {
		if treeOf(n.Addr()) != r.tree || !n.Contains(address) {
			continue
		}
		zone := r.zone(n, address)
		if r.prefix.Bits() < zone.Bits() {
			continue
		}
		return entry{zone: r.name(zone), exists: !r.below && (zone == r.prefix || above)}, true
	}
	return entry{}, false
}

// unqualified tells a name of one label. A resolver adds the search domain to it; without one it is nobody's, and those
// outside need not know what our machines are called.
func unqualified(name string, qtype uint16) bool {
	return miekg.CountLabel(name) == 1 && (qtype == miekg.TypeA || qtype == miekg.TypeAAAA)
}
