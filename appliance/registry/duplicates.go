package registry

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"masthead/appliance/nodeset"
	"masthead/node/wire"
)

// Duplicate is one MAC address or address that several nodes have: two parts of a cluster that could not see each other
// each gave it away. Keeper has it, on every head; to the others it is as if they had none.
type Duplicate struct {
	Field  string   `json:"field"` // mac or address
	Value  string   `json:"value"`
	Keeper string   `json:"keeper"`
	Others []string `json:"others"`
}

func (d Duplicate) String() string {
	what := "the MAC address"
	if d.Field == "address" {
		what = "the address"
	}
	return fmt.Sprintf("%s has %s %s of %s, which keeps it", strings.Join(d.Others, " and "), what, d.Value, d.Keeper)
}

// Try says what helps.
func (d Duplicate) Try() string {
	return fmt.Sprintf("masthead node set %s --%s OTHER, or masthead node rm %s", d.Others[0], d.Field, d.Others[0])
}

// keeps orders nodes that have the same MAC address or address, the one that keeps it first: who was approved goes
// before who was not, then it is the order of names, which no later change of either turns round.
func (r *Registry) keeps(a, b string) int {
	x, y := r.nodes[a], r.nodes[b]
	if x.Approved != y.Approved {
		if x.Approved {
			return -1
		}
		return 1
	}
	return cmp.Or(nodeset.Compare(a, b), cmp.Compare(a, b))
}

// Duplicates lists what more than one node has.
func (r *Registry) Duplicates() []Duplicate {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.duplicates()
}

func (r *Registry) duplicates() []Duplicate {
	all := []Duplicate{} // an empty list in JSON, not null
	for mac, names := range r.byMAC.several {
		all = append(all, Duplicate{"mac", mac, names[0], slices.Clone(names[1:])})
	}
	for addr, names := range r.byAddr.several {
		all = append(all, Duplicate{"address", addr.String(), names[0], slices.Clone(names[1:])})
	}
	slices.SortFunc(all, func(a, b Duplicate) int {
		return cmp.Or(cmp.Compare(a.Field, b.Field), cmp.Compare(a.Value, b.Value))
	})
	return all
}

// tellTwins makes an event of each duplicate that is new. The caller holds mu for writing.
func (r *Registry) tellTwins() {
	if len(r.byMAC.several)+len(r.byAddr.several)+len(r.twins) == 0 {
		return
	}
	present := map[string]bool{}
	for _, d := range r.duplicates() {
		text := d.String()
		present[text] = true
		if !r.twins[text] {
			r.event(wire.Event{Kind: "node", Node: d.Others[0], Text: text + ": " + d.Try(), Failed: true})
		}
	}
	r.twins = present
}

// twin says which other node keeps what a node has too, or nothing. The caller holds mu.
func (r *Registry) twin(rec Record) (keeper, field string) {
	if k := r.byMAC.keeper[rec.MAC]; k != "" && k != rec.Name {
		return k, "MAC address " + rec.MAC
	}
	if k := r.byAddr.keeper[rec.Address]; rec.Address.IsValid() && k != "" && k != rec.Name {
		return k, "address " + rec.Address.String()
	}
	return "", ""
}
