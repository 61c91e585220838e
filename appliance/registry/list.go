package registry

import (
	"cmp"
	"net/netip"
	"strconv"
	"time"

	"masthead/appliance/nodeset"
	"masthead/node/wire"
)

// view is a node as the API shows it. The caller holds mu.
func (r *Registry) view(rec Record, now time.Time) wire.Node {
	n := rec.wireNode()
	n.Inventory = r.made[rec.MAC]
	r.liven(&n, rec, now)
	return n
}

// brief is view without the inventory. The caller holds mu.
func (r *Registry) brief(rec Record, now time.Time) wire.Node {
	n := rec.wireNode()
	r.liven(&n, rec, now)
	return n
}

// liven adds to a node how it is. The caller holds mu.
func (r *Registry) liven(n *wire.Node, rec Record, now time.Time) {
	if lease, ok := r.leases.byIP[r.leases.byMAC[rec.MAC]]; ok && lease.Expires.After(now) {
		n.Lease = lease.IP
	}
	l := r.live[rec.MAC]
	n.Phase, _ = r.phase(rec, l, now)
	if l == nil {
		return
	}
	b := l.present()
	n.Head, n.Boot = l.head, b.ID
	n.Seen, n.RootState, n.Running = l.seen, l.root, cmp.Or(b.Running, b.Image)
	if last, ok := b.last(); ok {
		n.Stage = last.Stage
	}
	if up, ok := b.stage(wire.StageUp); ok && up.Outcome == wire.OutcomeDone {
		n.BootedIn = up.At
	}
}

// List gives the nodes of a set in the order that people count; the empty set is all. A name that no node has is an
// ErrNotFound.
func (r *Registry) List(set string, now time.Time) ([]wire.Node, error) {
	return r.list(set, now, r.view)
}

// Brief is List without the inventories.
func (r *Registry) Brief(set string, now time.Time) ([]wire.Node, error) {
	return r.list(set, now, r.brief)
}

func (r *Registry) list(set string, now time.Time, view func(Record, time.Time) wire.Node) ([]wire.Node, error) {
	nodes := r.all(now, view)
	if set == "" {
		return nodes, nil
	}
	s, err := nodeset.Parse(set)
	if err != nil {
		return nil, &Refusal{Kind: ErrInvalid, Field: "nodes", Value: set, Reason: err.Error()}
	}
	candidates := make([]nodeset.Node, len(nodes))
	byName := make(map[string]int, len(nodes))
	for i := range nodes {
		n := &nodes[i]
		byName[n.Name] = i
		candidates[i] = nodeset.Node{Name: n.Name, Groups: n.Groups, Attr: func(key string) (string, bool) { return attribute(*n, key) }}
	}
	names, missing := s.Select(candidates)
	if len(missing) > 0 {
		return nil, noNode(nodeset.Fold(missing))
	}
	chosen := make([]wire.Node, 0, len(names))
	for _, name := range names {
		chosen = append(chosen, nodes[byName[name]])
	}
	return chosen, nil
}

func (r *Registry) all(now time.Time, view func(Record, time.Time) wire.Node) []wire.Node {
	r.mu.Lock()
	nodes := make([]wire.Node, 0, len(r.nodes))
	refs := make([]string, 0, len(r.nodes))
	for _, name := range r.names() {
		rec := r.nodes[name].Record
		nodes = append(nodes, view(rec, now))
		refs = append(refs, r.imageRef(rec))
	}
	r.mu.Unlock()
	r.compareImages(nodes, refs)
	return nodes
}

// attribute is what node sets compare: the fields of a node, then its own attributes.
func attribute(n wire.Node, key string) (string, bool) {
	switch key {
	case "name":
		return n.Name, true
	case "mac":
		return n.MAC, true
	case "address":
		if !n.Address.IsValid() {
			return "", true
		}
		return n.Address.String(), true
	case "image":
		return n.Image, true
	case "root":
		return n.Root, true
	case "approved":
		return strconv.FormatBool(n.Approved), true
	case "phase":
		return string(n.Phase), true
	case "stage":
		return string(n.Stage), true
	case "head":
		return n.Head, true
	case "needs-reboot":
		return strconv.FormatBool(n.NeedsReboot), true
	}
	v, ok := n.Attrs[key]
	return v, ok
}

// Node gives one node, or ErrNotFound.
func (r *Registry) Node(name string, now time.Time) (wire.Node, error) {
	r.mu.RLock()
	e, ok := r.nodes[name]
	if !ok {
		r.mu.RUnlock()
		return wire.Node{}, noNode(name)
	}
	nodes, refs := []wire.Node{r.view(e.Record, now)}, []string{r.imageRef(e.Record)}
	r.mu.RUnlock()
	r.compareImages(nodes, refs)
	return nodes[0], nil
}

// Inventory is what the machine with that MAC address has said that it is made of, if it ever has.
func (r *Registry) Inventory(mac string) (wire.Inventory, bool) {
	m, err := ParseMAC(mac)
	if err != nil {
		return wire.Inventory{}, false
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	inv, ok := r.made[r.boots(m)]
	return inv, ok
}

// Record gives what the state has of a node.
func (r *Registry) Record(name string) (Record, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	e, ok := r.nodes[name]
	return e.Record, ok
}

// ByMAC gives the node that boots from the NIC with that address, in any spelling. Another NIC of the same machine is
// not the node: it must not get the node's address.
func (r *Registry) ByMAC(mac string) (Record, bool) {
	m, err := ParseMAC(mac)
	if err != nil {
		return Record{}, false
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	e, ok := r.nodes[r.byMAC.keeper[m]]
	return e.Record, ok
}

// ByAddress gives the node that an address is reserved for.
func (r *Registry) ByAddress(addr netip.Addr) (Record, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	e, ok := r.nodes[r.byAddr.keeper[addr]]
	return e.Record, ok
}

// Why tells the story of a node's last boot.
func (r *Registry) Why(name string, now time.Time) (wire.Why, error) {
	rec, ok := r.Record(name)
	if !ok {
		return wire.Why{}, noNode(name)
	}
	wanted, imageErr := r.imageOf(rec)
	r.mu.RLock()
	defer r.mu.RUnlock()
	if e, ok := r.nodes[name]; ok { // else removed just now; what it was is still the answer
		rec = e.Record
	}
	w := wire.Why{Node: r.view(rec, now), Stages: []wire.StageResult{}}
	outdate(&w.Node, wanted)
	if l := r.live[rec.MAC]; l != nil {
		b := l.present()
		w.Boot, w.Stages, w.Events = b.ID, append(w.Stages, b.Stages...), append(w.Events, l.events...)
		if b.Image != "" || b.Running != "" {
			imageErr = nil // it has one: a head its own, which is in no store
		}
	}
	s := Story{Node: w.Node, Stages: w.Stages, Events: w.Events, Image: imageErr, Now: now}
	_, s.DeadHead = r.phase(rec, r.live[rec.MAC], now)
	s.Twin, s.Shared = r.twin(rec)
	w.Verdict, w.Try = Explain(s)
	return w, nil
}
