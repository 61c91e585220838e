package registry

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"masthead/node/wire"
)

// Record is what the state keeps of a node. Its name is the key.
type Record struct {
	Name     string            `json:"-"`
	MAC      string            `json:"mac"`
	Address  netip.Addr        `json:"address,omitzero"` // reserved; zero: DHCP gives any
	Image    string            `json:"image,omitempty"`  // tag or digest; empty: the cluster's default
	Root     string            `json:"root,omitempty"`
	Cmdline  string            `json:"cmdline,omitempty"`
	Groups   []string          `json:"groups,omitempty"` // sorted
	Attrs    map[string]string `json:"attrs,omitempty"`
	Heads    []string          `json:"heads,omitempty"` // in the order to try
	Approved bool              `json:"approved,omitempty"`
}

// ParseMAC gives a MAC address in the one form that is used as a key: lower case, with colons.
func ParseMAC(s string) (string, error) {
	mac, err := net.ParseMAC(s)
	if err != nil || len(mac) != 6 {
		return "", fmt.Errorf("%q: want a MAC address such as 52:54:00:aa:bb:01", s)
	}
	return mac.String(), nil
}

// wireNode is the part of the API's node that the record knows.
func (r Record) wireNode() wire.Node {
	return wire.Node{
		Name: r.Name, MAC: r.MAC, Address: r.Address, Image: r.Image, Root: r.Root, Cmdline: r.Cmdline,
		Groups: r.Groups, Attrs: r.Attrs, Heads: r.Heads, Approved: r.Approved,
	}
}

// with gives the record after a change that was found valid.
func (r Record) with(c wire.NodeChange) Record {
	set := func(to *string, from *string) {
		if from != nil {
			*to = *from
		}
	}
	set(&r.Name, c.Name)
	if c.MAC != nil {
		r.MAC, _ = ParseMAC(*c.MAC) // checked before
	}
	if c.Address != nil {
		r.Address, _ = netip.ParseAddr(*c.Address) // checked before; "" is the zero Addr
	}
	set(&r.Image, c.Image)
	set(&r.Root, c.Root)
	set(&r.Cmdline, c.Cmdline)
	if c.Groups != nil {
		r.Groups = slices.Clone(*c.Groups)
		slices.Sort(r.Groups)
		r.Groups = slices.Compact(r.Groups)
	}
	if c.Attrs != nil {
		attrs := maps.Clone(r.Attrs)
		if attrs == nil {
			attrs = map[string]string{}
		}
		for k, v := range c.Attrs {
			if v == "" {
				delete(attrs, k)
			} else {
				attrs[k] = v
			}
		}
		r.Attrs = attrs
	}
	if c.Heads != nil {
		r.Heads = slices.Clone(*c.Heads)
	}
	if c.Approved != nil {
		r.Approved = *c.Approved
	}
	return r
}

// Diff lists the fields in which two records differ. The zero Record is a node that is not there.
func Diff(before, after Record) []wire.Difference {
	diff := []wire.Difference{} // an empty list in JSON, not null
	a, b := fields(before), fields(after)
	for i := range a {
		if a[i].value != b[i].value {
			diff = append(diff, wire.Difference{Field: a[i].name, Old: a[i].value, New: b[i].value})
		}
	}
	keys := map[string]bool{}
	for k := range before.Attrs {
		keys[k] = true
	}
	for k := range after.Attrs {
		keys[k] = true
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if before.Attrs[k] != after.Attrs[k] {
			diff = append(diff, wire.Difference{Field: "attrs." + k, Old: before.Attrs[k], New: after.Attrs[k]})
		}
	}
	return diff
}

type field struct{ name, value string }

func fields(r Record) []field {
	address, approved := "", ""
	if r.Address.IsValid() {
		address = r.Address.String()
	}
	if r.Name != "" {
		approved = strconv.FormatBool(r.Approved)
	}
	return []field{
		{"name", r.Name}, {"mac", r.MAC}, {"address", address}, {"image", r.Image}, {"root", r.Root},
		{"cmdline", r.Cmdline}, {"groups", strings.Join(r.Groups, ",")}, {"heads", strings.Join(r.Heads, ",")}, {"approved", approved},
	}
}
