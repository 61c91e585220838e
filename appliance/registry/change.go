package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"masthead/appliance/state"
	"masthead/images"
	"masthead/node/wire"
)

// claim is a name, a MAC address or an IP address that a change under way is about. While the disk syncs no other
// change may take it, and changes of other nodes need not wait: they share the sync.
type claim struct{ what, value string }

// edit is one node before and after a change. A zero Record is a node that is not there.
type edit struct {
	before entry
	after  Record
}

func (e edit) claims() []claim {
	var all []claim
	for _, r := range []Record{e.before.Record, e.after} {
		if r.Name != "" {
			all = append(all, claim{"name", r.Name}, claim{"mac", r.MAC})
			if r.Address.IsValid() {
				all = append(all, claim{"address", r.Address.String()})
			}
		}
	}
	return all
}

// ops are the changes of the state that an edit is. shared tells that another node has the machine's MAC address too, so
// that what is kept under it stays.
func (e edit) ops(shared func(mac string) bool) ([]state.Op, error) {
	var ops []state.Op
	if e.before.Name != "" && e.before.Name != e.after.Name {
		ops = append(ops, state.Delete(state.KindNode, e.before.Name).At(e.before.version))
	}
	if e.before.MAC != "" && e.before.MAC != e.after.MAC && !shared(e.before.MAC) {
		ops = append(ops, state.Delete(state.KindInventory, e.before.MAC), state.Delete(state.KindBoot, e.before.MAC))
	}
	if e.after.Name != "" {
		put, err := state.Put(state.KindNode, e.after.Name, e.after)
		if err != nil {
			return nil, err
		}
		expect := state.Version{}
		if e.before.Name == e.after.Name {
			expect = e.before.version
		}
		ops = append(ops, put.At(expect))
	}
	return ops, nil
}

// change makes the edits that plan asks for: all or none. plan is called with mu held, and again whenever what it
// looked at was about to change. degraded, if not empty, is why only one head has them.
func (r *Registry) change(ctx context.Context, o state.Origin, plan func() ([]edit, error)) (degraded string, err error) {
	var cause error // why the head that should have written it did not
	for tries := 0; ; tries++ {
		r.mu.Lock()
		edits, err := plan()
		if err != nil || len(edits) == 0 {
			r.mu.Unlock()
			if err != nil && cause != nil {
				err = cause
			}
			return "", err
		}
		if busy := r.claimed(edits); busy != nil {
			r.mu.Unlock()
			select {
			case <-busy:
				tries-- // that was no try
				continue
			case <-ctx.Done():
				return "", ctx.Err()
			}
		}
		done := make(chan struct{})
		for _, e := range edits {
			for _, c := range e.claims() {
				r.claims[c] = done
			}
		}
		r.mu.Unlock()
		degraded, err = r.write(ctx, o, edits)
		r.mu.Lock()
		for _, e := range edits {
			for _, c := range e.claims() {
				delete(r.claims, c)
			}
			if err != nil {
				r.freeNumber(e.after.Name)
			}
		}
		close(done)
		r.mu.Unlock()
		var gone *awayError
		if errors.As(err, &gone) && gone.err != nil && cause == nil {
			cause = err // it is known to be away now: what it did not have to decide goes on without it
			continue
		}
		if gone != nil || !errors.Is(err, state.ErrConflict) {
			return degraded, err
		}
		if tries == maxConflicts {
			return "", &Refusal{Kind: ErrConflict, Field: "node", Value: editNames(edits), Reason: "others change the same all the time", Fix: "look at it again (masthead audit), and repeat the change"}
		}
		if err := r.reread(ctx, edits); err != nil {
			return "", err
		}
		if err := pause(ctx, tries); err != nil {
			return "", err
		}
	}
}

func (r *Registry) claimed(edits []edit) chan struct{} {
	for _, e := range edits {
		for _, c := range e.claims() {
			if busy, ok := r.claims[c]; ok {
				return busy
			}
		}
	}
	return nil
}

func editNames(edits []edit) string {
	name := edits[0].after.Name
	if name == "" {
		name = edits[0].before.Name
	}
	if len(edits) > 1 {
		return fmt.Sprintf("%s and %d more", name, len(edits)-1)
	}
	return name
}

// reread makes memory follow the state for nodes that somebody else changed.
func (r *Registry) reread(ctx context.Context, edits []edit) error {
	for _, e := range edits {
		for _, name := range []string{e.before.Name, e.after.Name} {
			if name == "" {
				continue
			}
			key := state.Key{Kind: state.KindNode, Name: name}
			rec, err := r.conf.Store.Get(key)
			if errors.Is(err, state.ErrNotFound) {
				// Deleted after what memory knows, or it would not have come to a conflict.
				r.mu.RLock()
				v := r.nodes[name].version
				r.mu.RUnlock()
				v.HLC++
				rec, err = state.Record{Key: key, Deleted: true, Version: v}, nil
			}
			if err != nil {
				return err
			}
			if err := r.take(rec); err != nil {
				return err
			}
		}
		for _, addr := range []netip.Addr{e.before.Address, e.after.Address} {
			if err := r.followLease(ctx, addr); err != nil {
				return err
			}
		}
	}
	return nil
}

// Add makes a new, approved node, or says what it would make (DryRun).
func (r *Registry) Add(ctx context.Context, o state.Origin, c wire.NodeChange) (wire.Changed, error) {
	if c.Approved == nil {
		yes := true
		c.Approved = &yes
	}
	all, err := r.edit(ctx, o, c.DryRun, func() ([]edit, error) {
		if err := Validate("", c, r.others()); err != nil {
			return nil, err
		}
		return []edit{{after: Record{}.with(c)}}, nil
	})
	if err != nil {
		return wire.Changed{}, err
	}
	return all[0], nil
}

// Set changes nodes in the same way, all or none, or says what would change (DryRun). A new name, MAC address or
// address can be given to one node only.
func (r *Registry) Set(ctx context.Context, o state.Origin, names []string, c wire.NodeChange) ([]wire.Changed, error) {
	if len(names) > 1 && (c.Name != nil || c.MAC != nil || (c.Address != nil && *c.Address != "")) {
		return nil, &Refusal{Kind: ErrInvalid, Field: "name", Value: fmt.Sprintf("%d nodes", len(names)), Reason: "name, MAC address and address differ from node to node", Fix: "masthead node set NAME …, one node at a time"}
	}
	return r.edit(ctx, o, c.DryRun, func() ([]edit, error) {
		var edits []edit
		var errs []error
		others := r.others()
		others.Image = once(others.Image)
		for _, name := range names {
			before, ok := r.nodes[name]
			if !ok {
				errs = append(errs, noNode(name))
				continue
			}
			if err := Validate(name, c, others); err != nil {
				errs = append(errs, err)
				continue
			}
			edits = append(edits, edit{before, before.with(c)})
		}
		return edits, errors.Join(errs...)
	})
}

// Remove forgets nodes, all or none, or says what would be forgotten. A machine that is still there is discovered anew
// when it boots.
func (r *Registry) Remove(ctx context.Context, o state.Origin, names []string, dryRun bool) ([]wire.Changed, error) {
	return r.edit(ctx, o, dryRun, func() ([]edit, error) {
		var edits []edit
		var errs []error
		for _, name := range names {
			if before, ok := r.nodes[name]; ok {
				edits = append(edits, edit{before: before})
			} else {
				errs = append(errs, noNode(name))
			}
		}
		return edits, errors.Join(errs...)
	})
}

// edit plans, makes and describes a change of nodes.
func (r *Registry) edit(ctx context.Context, o state.Origin, dryRun bool, plan func() ([]edit, error)) ([]wire.Changed, error) {
	var all []edit
	degraded, err := r.change(ctx, o, func() ([]edit, error) {
		var err error
		if all, err = plan(); err == nil {
			err = r.reachOwners(all)
		}
		if err != nil || dryRun {
			return nil, err
		}
		var real []edit
		for _, e := range all {
			if len(Diff(e.before.Record, e.after)) > 0 {
				real = append(real, e)
			}
		}
		return real, nil
	})
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.conf.Now()
	changed := make([]wire.Changed, 0, len(all))
	for _, e := range all {
		c := wire.Changed{Diff: Diff(e.before.Record, e.after), Applied: !dryRun, Degraded: degraded}
		shown := e.after
		if shown.Name == "" {
			shown = e.before.Record
		}
		c.Node = r.view(shown, now)
		changed = append(changed, c)
		if c.Applied && len(c.Diff) > 0 {
			r.told(e, o, c.Diff)
		}
	}
	return changed, nil
}

// told enters a change that was made as an event, and lets go of what memory has of a machine that is a node no more.
func (r *Registry) told(e edit, o state.Origin, diff []wire.Difference) {
	if e.before.MAC != e.after.MAC && r.byMAC.keeper[e.before.MAC] == "" {
		delete(r.live, e.before.MAC)
	}
	event := wire.Event{Kind: "admin", Node: e.after.Name, MAC: e.after.MAC}
	switch {
	case e.after.Name == "":
		event.Node, event.MAC, event.Text = "", e.before.MAC, e.before.Name+" is removed"
	case e.before.Name == "":
		event.Text = "is added"
	default:
		event.Text = "changes"
		for i, d := range diff {
			if i > 0 {
				event.Text += ","
			}
			event.Text += fmt.Sprintf(" %s %q → %q", d.Field, d.Old, d.New)
		}
	}
	event.Text += " (" + o.Who + ")"
	r.event(event)
}

// others is the nodes of this moment. The caller holds mu for as long as it is used.
func (r *Registry) others() Others {
	heads := slices.Sorted(maps.Keys(r.heads))
	if len(heads) == 0 && r.conf.Head != "" {
		heads = []string{r.conf.Head} // one that has no network is in no list
	}
	return Others{
		Heads:     heads,
		ByName:    func(name string) (string, bool) { _, ok := r.nodes[name]; return name, ok },
		ByMAC:     func(mac string) (string, bool) { name, ok := r.byMAC.keeper[mac]; return name, ok },
		ByAddress: r.holder,
		Subnets:   r.conf.Subnets,
		Image:     r.conf.Image,
		Cmdline:   r.conf.Cmdline,
	}
}

// once asks for an image once, however many nodes are given it.
func once(resolve func(string) (images.Digest, error)) func(string) (images.Digest, error) {
	if resolve == nil {
		return nil
	}
	asked, digest, err := "", images.Digest(""), error(nil)
	return func(ref string) (images.Digest, error) {
		if ref != asked {
			asked = ref
			digest, err = resolve(ref)
		}
		return digest, err
	}
}

// holder names who has an address.
func (r *Registry) holder(addr netip.Addr) (string, bool) {
	if name, ok := r.byAddr.keeper[addr]; ok {
		return name, true
	}
	for name, h := range r.heads {
		if h.Address == addr {
			return name, true
		}
	}
	if r.conf.Taken != nil {
		return r.conf.Taken(addr)
	}
	return "", false
}

// resolve gives the image that a node runs. The caller holds no lock.
func (r *Registry) resolve(ref string) (images.Digest, error) {
	if ref == "" {
		ref = r.Settings().DefaultImage
	}
	if r.conf.Image != nil {
		return r.conf.Image(ref)
	}
	if ref == "" {
		return "", errors.New("it names no image, and there is no default")
	}
	return images.ParseDigest(ref)
}
