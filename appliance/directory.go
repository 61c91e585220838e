package appliance

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"masthead/appliance/dhcp"
	"masthead/appliance/nodeset"
	"masthead/appliance/registry"
	"masthead/appliance/state"
	"masthead/node/wire"
)

// directory is who has which address, as the state says: heads, nodes with a reserved address, and nodes with a lease. It
// is kept up record by record, as a boot storm changes a lease for each machine. It is not for use at once by several.
type directory struct {
	heads      map[string]versioned[wire.HeadRecord]
	nodes      map[string]versioned[registry.Record]
	leases     map[netip.Addr]versioned[registry.Lease]
	forwarders versioned[string]
	sorted     []string // names of nodes; nil: to be made
}

// versioned is a record's value with its version: what the state tells of a change may come after that of a newer one.
type versioned[T any] struct {
	value   T
	version state.Version
	deleted bool
}

// directoryKinds are what take wants to be told of.
var directoryKinds = []state.Kind{state.KindHead, state.KindNode, state.KindLease, state.KindSetting}

func newDirectory() *directory {
	return &directory{
		heads: map[string]versioned[wire.HeadRecord]{}, nodes: map[string]versioned[registry.Record]{},
		leases: map[netip.Addr]versioned[registry.Lease]{},
	}
}

// take enters one record. It is harmless to enter one twice, or an older one late.
func (d *directory) take(rec state.Record) error {
	switch rec.Key.Kind {
	case state.KindHead:
		return takeRecord(d.heads, rec.Key.Name, rec)
	case state.KindNode:
		if old, known := d.nodes[rec.Key.Name]; !known || old.deleted != rec.Deleted {
			d.sorted = nil
		}
		return takeRecord(d.nodes, rec.Key.Name, rec)
	case state.KindLease:
		ip, err := netip.ParseAddr(rec.Key.Name)
		if err != nil {
			return err
		}
		return takeRecord(d.leases, ip, rec)
	case state.KindSetting:
		if rec.Key.Name != registry.SettingForwarders {
			return nil
		}
		one := map[string]versioned[string]{"": d.forwarders}
		err := takeRecord(one, "", rec)
		d.forwarders = one[""]
		return err
	}
	return nil
}

// takeRecord keeps the newer version. What was deleted stays as a mark, so that an older record does not bring it back.
func takeRecord[K comparable, T any](all map[K]versioned[T], key K, rec state.Record) error {
	if old, known := all[key]; known && old.version.Compare(rec.Version) >= 0 {
		return nil
	}
	v := versioned[T]{version: rec.Version, deleted: rec.Deleted}
	if !rec.Deleted {
		var err error
		if v.value, err = state.Decode[T](rec); err != nil {
			return err
		}
	}
	all[key] = v
	return nil
}

// book is a directory at one moment. Nobody changes it. It is dns.Names.
type book struct {
	heads      []wire.Host // by name
	hosts      []wire.Host // the heads, then the nodes in the order that people count
	forwarders []netip.Addr
	byName     map[string][]netip.Addr
	byAddr     map[netip.Addr]string
}

func (b *book) Addresses(host string) []netip.Addr { return b.byName[host] }

func (b *book) Host(a netip.Addr) (string, bool) {
	name, ok := b.byAddr[a]
	return name, ok
}

func (b *book) Heads() []string {
	names := make([]string, len(b.heads))
	for i, h := range b.heads {
		names[i] = h.Name
	}
	return names
}

// at writes the book of a moment: leases end.
func (d *directory) at(now time.Time) *book {
	b := &book{forwarders: addressList(d.forwarders.value)}
	for name, h := range d.heads {
		if !h.deleted && h.value.Address.IsValid() {
			b.heads = append(b.heads, wire.Host{Name: name, Address: h.value.Address})
		}
	}
	slices.SortFunc(b.heads, func(a, b wire.Host) int { return strings.Compare(a.Name, b.Name) })
	b.hosts = hosts(b.heads, d.nodesAt(now))
	b.byName, b.byAddr = make(map[string][]netip.Addr, len(b.hosts)), make(map[netip.Addr]string, len(b.hosts))
	for _, h := range b.hosts {
		b.byName[h.Name] = append(b.byName[h.Name], h.Address)
		if _, taken := b.byAddr[h.Address]; !taken { // a head before a node, and a node that is counted earlier
			b.byAddr[h.Address] = h.Name
		}
	}
	return b
}

// nodesAt lists the nodes that have an address and are approved: what has asked to be a node is nobody yet.
func (d *directory) nodesAt(now time.Time) []wire.Host {
	leased := make(map[string]registry.Lease, len(d.leases)) // by MAC
	for ip, l := range d.leases {
		if l.deleted || l.value.MAC == "" || l.value.State != string(dhcp.Bound) || !l.value.Expires.After(now) {
			continue
		}
		l.value.IP = ip
		// A machine that has moved to another network has two for a while: the later one counts, on all heads the same.
		if old, ok := leased[l.value.MAC]; !ok || cmp.Or(old.Renewed.Compare(l.value.Renewed), ip.Compare(old.IP)) < 0 {
			leased[l.value.MAC] = l.value
		}
	}
	if d.sorted == nil {
		d.sorted = slices.SortedFunc(maps.Keys(d.nodes), nodeset.Compare)
	}
	all := make([]wire.Host, 0, len(d.nodes))
	for _, name := range d.sorted {
		n := d.nodes[name]
		address := n.value.Address
		if !address.IsValid() {
			address = leased[n.value.MAC].IP
		}
		if !n.deleted && n.value.Approved && address.IsValid() {
			all = append(all, wire.Host{Name: name, Address: address})
		}
	}
	return all
}

// hosts are the lines of /etc/hosts: the heads, then the nodes but those that are heads themselves.
func hosts(heads, nodes []wire.Host) []wire.Host {
	isHead := make(map[string]bool, len(heads))
	for _, h := range heads {
		isHead[h.Name] = true
	}
	all := slices.Grow(slices.Clone(heads), len(nodes))
	for _, n := range nodes {
		if !isHead[n.Name] {
			all = append(all, n)
		}
	}
	return slices.Clip(all) // who appends to it gets a copy
}

// maxServers is how many servers of names a C library asks (resolv.conf(5), MAXNS); more servers of time are no use.
const maxServers = 3

// servers are the DNS and NTP servers of the machines that the head self looks after: itself, then the others by name.
func servers(self netip.Addr, heads []wire.Host) []netip.Addr {
	var all []netip.Addr
	if self.IsValid() {
		all = append(all, self)
	}
	for _, h := range heads {
		if h.Address.IsValid() && !slices.Contains(all, h.Address) {
			all = append(all, h.Address)
		}
	}
	return all[:min(len(all), maxServers)]
}

// forwardersOf are the resolvers that a head asks: those of the setting, else those that the machine has. A head is none
// of them: two heads that ask each other would never come to an end.
func forwardersOf(setting, own []netip.Addr, isHead func(netip.Addr) bool) []netip.Addr {
	if len(setting) == 0 {
		setting = own
	}
	var all []netip.Addr
	for _, a := range setting {
		if a = a.Unmap(); a.IsValid() && !isHead(a) && !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return all
}

// addressList reads addresses with commas or blanks between them. What is none was refused when it was set.
func addressList(s string) (all []netip.Addr) {
	for _, f := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' }) {
		if a, err := netip.ParseAddr(f); err == nil {
			all = append(all, a)
		}
	}
	return all
}

// resolvers reads the name servers of a resolv.conf(5).
func resolvers(text string) []netip.Addr {
	var all []netip.Addr
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil {
			all = append(all, a)
		}
	}
	return all
}
