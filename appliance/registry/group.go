package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"masthead/appliance/nodeset"
	"masthead/appliance/state"
	"masthead/images"
	"masthead/node/wire"
)

// groupRecord is what the state keeps of a group. Its name is the key; which nodes are in it, their records say.
type groupRecord struct {
	Heads []string `json:"heads,omitempty"` // in the order to try
	Image string   `json:"image,omitempty"`
}

type groupEntry struct {
	groupRecord
	version state.Version
}

func (r *Registry) takeGroup(rec state.Record) error {
	name := rec.Key.Name
	if old, ok := r.groups[name]; ok && old.version.Compare(rec.Version) >= 0 {
		return nil
	}
	if rec.Deleted {
		delete(r.groups, name)
		return nil
	}
	g, err := state.Decode[groupRecord](rec)
	if err != nil {
		return err
	}
	r.groups[name] = groupEntry{g, rec.Version}
	return nil
}

// Groups lists the groups that something was decided for, and those that nodes are in, by name.
func (r *Registry) Groups() []wire.Group {
	r.mu.Lock()
	defer r.mu.Unlock()
	members := map[string][]string{}
	for _, name := range r.names() {
		for _, g := range r.nodes[name].Groups {
			members[g] = append(members[g], name)
		}
	}
	for name := range r.groups {
		members[name] = append(members[name], []string(nil)...)
	}
	all := []wire.Group{} // an empty list in JSON, not null
	for name, nodes := range members {
		g := r.groups[name].groupRecord
		all = append(all, wire.Group{Name: name, Heads: g.Heads, Image: g.Image, Nodes: len(nodes), Set: nodeset.Fold(nodes)})
	}
	slices.SortFunc(all, func(a, b wire.Group) int { return nodeset.Compare(a.Name, b.Name) })
	return all
}

// SetGroup decides something for all nodes of a group, now and later, or says what would change (DryRun). It blocks
// until that is durable.
func (r *Registry) SetGroup(ctx context.Context, o state.Origin, name string, c wire.GroupChange) (wire.GroupChanged, error) {
	if err := r.checkGroup(name, c); err != nil {
		return wire.GroupChanged{}, err
	}
	return r.changeGroup(ctx, o, name, c.DryRun, func(g groupRecord) groupRecord {
		if c.Heads != nil {
			g.Heads = slices.Clone(*c.Heads)
		}
		if c.Image != nil {
			g.Image = *c.Image
		}
		return g
	})
}

// RemoveGroup takes away what was decided for a group, or says what it would (DryRun). Its nodes stay in it.
func (r *Registry) RemoveGroup(ctx context.Context, o state.Origin, name string, dryRun bool) (wire.GroupChanged, error) {
	r.mu.RLock()
	_, ok := r.groups[name]
	r.mu.RUnlock()
	if !ok {
		return wire.GroupChanged{}, &Refusal{Kind: ErrNotFound, Field: "group", Value: name, Reason: "nothing was decided for a group of this name", Fix: "masthead node group list"}
	}
	return r.changeGroup(ctx, o, name, dryRun, func(groupRecord) groupRecord { return groupRecord{} })
}

func (r *Registry) checkGroup(name string, c wire.GroupChange) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	v := validator{others: r.others()}
	v.groups([]string{name})
	if c.Heads != nil {
		v.heads(*c.Heads)
	}
	if c.Image != nil {
		v.image(*c.Image)
	}
	return errors.Join(v.errs...)
}

// changeGroup makes a change of one group. An empty record is none.
func (r *Registry) changeGroup(ctx context.Context, o state.Origin, name string, dryRun bool, with func(groupRecord) groupRecord) (wire.GroupChanged, error) {
	for tries := 0; ; tries++ {
		r.mu.RLock()
		before := r.groups[name]
		r.mu.RUnlock()
		after := with(before.groupRecord)
		out := wire.GroupChanged{Group: wire.Group{Name: name, Heads: after.Heads, Image: after.Image}, Diff: diffGroup(before.groupRecord, after), Applied: !dryRun}
		if dryRun || len(out.Diff) == 0 {
			return out, nil
		}
		op := state.Delete(state.KindGroup, name)
		if len(after.Heads) > 0 || after.Image != "" {
			var err error
			if op, err = state.Put(state.KindGroup, name, after); err != nil {
				return wire.GroupChanged{}, err
			}
		}
		degraded, err := r.applyAt(ctx, r.conf.Head, o, []state.Op{op.At(before.version)})
		if errors.Is(err, state.ErrConflict) && tries < maxConflicts {
			if err := pause(ctx, tries+1); err != nil { // Run takes in what somebody else has made of it
				return wire.GroupChanged{}, err
			}
			continue
		}
		if err != nil {
			return wire.GroupChanged{}, fmt.Errorf("change group %s: %w", name, err)
		}
		out.Degraded = degraded
		text := "group " + name + ":"
		for _, d := range out.Diff {
			text += fmt.Sprintf(" %s %q → %q,", d.Field, d.Old, d.New)
		}
		r.Event(wire.Event{Kind: "admin", Text: strings.TrimSuffix(text, ",") + " (" + o.Who + ")"})
		return out, nil
	}
}

func diffGroup(before, after groupRecord) []wire.Difference {
	diff := []wire.Difference{} // an empty list in JSON, not null
	for _, f := range []struct{ name, old, new string }{
		{"heads", strings.Join(before.Heads, ","), strings.Join(after.Heads, ",")}, {"image", before.Image, after.Image},
	} {
		if f.old != f.new {
			diff = append(diff, wire.Difference{Field: f.name, Old: f.old, New: f.new})
		}
	}
	return diff
}

// ImageRef is the image that a node is to run, as the administrator named it: for itself, else for the first of its
// groups that has one; empty: the default.
func (r *Registry) ImageRef(rec Record) string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.imageRef(rec)
}

func (r *Registry) imageRef(rec Record) string {
	if rec.Image != "" {
		return rec.Image
	}
	for _, g := range rec.Groups {
		if image := r.groups[g].Image; image != "" {
			return image
		}
	}
	return ""
}

// imageOf resolves it. The caller holds no lock.
func (r *Registry) imageOf(rec Record) (images.Digest, error) {
	if rec.Clone() {
		if r.conf.Clone == nil {
			return "", errNoClone
		}
		return r.conf.Clone()
	}
	return r.resolve(r.ImageRef(rec))
}
