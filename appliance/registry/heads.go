package registry

import (
	"errors"
	"maps"
	"net/netip"

	"masthead/appliance/nodeset"
	"masthead/appliance/state"
	"masthead/images"
	"masthead/node/wire"
)

// Heads are nodes too, with the attribute role=head: they are listed and looked at like any other. What is done to a
// group of nodes, or to all, is meant for workers.

const roleAttr = "role"

// LeaveOutHeads takes the heads out of the nodes that a set gave, but for those that it names or that it selects by
// role=head. left are the names of the others.
func (r *Registry) LeaveOutHeads(set string, nodes []wire.Node) (rest []wire.Node, left []string, err error) {
	s, err := nodeset.Parse(set)
	if err != nil {
		return nil, nil, &Refusal{Kind: ErrInvalid, Field: "nodes", Value: set, Reason: err.Error()}
	}
	r.mu.RLock()
	heads := maps.Clone(r.heads)
	r.mu.RUnlock()
	rest = make([]wire.Node, 0, len(nodes))
	for _, n := range nodes {
		_, configured := heads[n.Name]
		if (configured || isHead(n.Attrs)) && !s.Asks(n.Name, roleAttr, string(images.RoleHead)) {
			left = append(left, n.Name)
			continue
		}
		rest = append(rest, n)
	}
	return rest, left, nil
}

func isHead(attrs map[string]string) bool { return attrs[roleAttr] == string(images.RoleHead) }

// RoleClone is the role of a node that is being made a head: it runs the head's own image, without being a head, until that
// is on its disk.
const RoleClone = "clone"

// Clone reports whether the node is being made a head.
func (r Record) Clone() bool { return r.Attrs[roleAttr] == RoleClone }

// Head reports whether the node is a head, or has just been installed as one.
func (r Record) Head() bool { return isHead(r.Attrs) }

var errNoClone = errors.New("this head was not started from an image that could be given on")

// HeadsStay refuses to forget nodes that are configured heads.
func (r *Registry) HeadsStay(names []string) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var errs []error
	for _, name := range names {
		if _, ok := r.heads[name]; ok {
			errs = append(errs, &Refusal{Kind: ErrConflict, Field: "name", Value: name, Reason: "it is a configured head of the cluster",
				Fix: "masthead head leave on " + name + "; or, if it is dead for good: masthead head eject " + name})
		}
	}
	return errors.Join(errs...)
}

// HeadsKeepIdentity refuses to give nodes that are configured heads another name or address: those are in the heads'
// own records and certificates.
func (r *Registry) HeadsKeepIdentity(names []string, c wire.NodeChange) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var errs []error
	refuse := func(field, value, head string) {
		errs = append(errs, &Refusal{Kind: ErrConflict, Field: field, Value: value,
			Reason: head + " is a configured head, which the other heads and all nodes know by its name and address",
			Fix:    "masthead head leave on " + head + ", start it with the other name or address, and masthead head join"})
	}
	for _, name := range names {
		h, ok := r.heads[name]
		if !ok {
			continue
		}
		if c.Name != nil && *c.Name != name {
			refuse("name", *c.Name, name)
		}
		if c.Address != nil {
			if a, err := netip.ParseAddr(*c.Address); err != nil || a != h.Address {
				refuse("address", *c.Address, name)
			}
		}
	}
	return errors.Join(errs...)
}

// ForgetHead are the changes that remove the node that a head was, for those that take it out of the cluster; none if
// there is no such node. They are made whatever others write to it meanwhile.
func (r *Registry) ForgetHead(name string) ([]state.Op, error) {
	r.mu.RLock()
	was, ok := r.nodes[name]
	r.mu.RUnlock()
	if !ok || !isHead(was.Attrs) {
		return nil, nil
	}
	ops, err := r.editOps(edit{before: was})
	for i := range ops {
		ops[i].Expect = nil
	}
	return ops, err
}
