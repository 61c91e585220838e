package registry

import (
	"cmp"
	"hash/fnv"
	"maps"
	"slices"
)

// headOrder is the order in which a node tries the configured heads: those chosen for it, then the others, which are
// spread over all nodes evenly by their names (rendezvous hashing: a head that comes or goes moves only the nodes that
// it takes or had). It does not depend on who answers at the moment: a node finds that out by itself, and one whose head
// died and came back would be sent to and fro. The same on every head.
func headOrder(node string, chosen, configured []string) []string {
	var order []string
	for _, h := range chosen {
		if slices.Contains(configured, h) && !slices.Contains(order, h) {
			order = append(order, h)
		}
	}
	rest := slices.DeleteFunc(slices.Clone(configured), func(h string) bool { return slices.Contains(order, h) })
	slices.SortFunc(rest, func(a, b string) int {
		return cmp.Or(-cmp.Compare(weight(node, a), weight(node, b)), cmp.Compare(a, b))
	})
	return append(order, rest...)
}

// weight is how much a node is drawn to a head.
func weight(node, head string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(node + "\x00" + head))
	// FNV leaves names that differ in the last letter alone close together; this is MurmurHash3's finalizer.
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// HeadOrder gives the names of all configured heads in the order in which a node is to try them: by its own list, else
// by that of the first of its groups that has one, else spread evenly.
func (r *Registry) HeadOrder(node string) []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	rec := r.nodes[node].Record
	chosen := rec.Heads
	for _, g := range rec.Groups {
		if len(chosen) > 0 {
			break
		}
		chosen = r.groups[g].Heads
	}
	return headOrder(node, chosen, slices.Sorted(maps.Keys(r.heads)))
}
