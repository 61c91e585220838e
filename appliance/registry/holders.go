package registry

import "slices"

// holders tells which node has a MAC address or an address. It is one; but after two parts of a cluster that could not
// see each other have merged there may be several, and then all heads agree on the one that keeps it.
type holders[K comparable] struct {
	keeper  map[K]string
	several map[K][]string // all, the keeper first, where there is more than one
}

func newHolders[K comparable]() holders[K] {
	return holders[K]{map[K]string{}, map[K][]string{}}
}

// add enters a node. Where others have the value too, order says who comes first.
func (h holders[K]) add(k K, name string, order func(a, b string) int) {
	first, taken := h.keeper[k]
	if !taken || first == name {
		h.keeper[k] = name
		return
	}
	all := h.several[k]
	if all == nil {
		all = []string{first}
	}
	all = append(all, name)
	slices.SortFunc(all, order)
	h.several[k], h.keeper[k] = all, all[0]
}

func (h holders[K]) remove(k K, name string) {
	all := slices.DeleteFunc(h.several[k], func(n string) bool { return n == name })
	switch len(all) {
	case 0:
		if h.keeper[k] == name {
			delete(h.keeper, k)
		}
		return
	case 1:
		delete(h.several, k)
	default:
		h.several[k] = all
	}
	h.keeper[k] = all[0]
}
