package registry

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"masthead/appliance/state"
)

// reserved is the state of the lease record of an address that is reserved for a node and that nobody has leased: the
// record is where those who want the same address meet.
const reserved = "reserved"

// reclaimAfter is how long after its end a lease counts as over on every head: longer than clocks may differ.
const reclaimAfter = time.Minute

// newName tells whether an edit gives away a name. That of a head is its own, and one made of the MAC address is too.
func (r *Registry) newName(e edit) bool {
	_, isHead := r.heads[e.after.Name]
	return e.after.Name != "" && e.after.Name != e.before.Name && e.after.Name != nameOfMAC(e.after.MAC) && !isHead
}

// nameOwner is the head that gives away a name. A name that machines could be numbered with has to wait for its head.
// Any other was thought of by a person: while its head is away, two people would have to think of the same one at the
// same time, and the audit log shows both then; a head that refused would stop somebody who repairs a cluster. The
// caller holds mu.
func (r *Registry) nameOwner(name string) (string, error) {
	head, err := r.owner(state.SlotOf(name))
	if err != nil && (!r.settings.AutoApprove || numberOf(r.settings.NamePattern, name) == 0) {
		return r.conf.Head, nil
	}
	return head, err
}

// maxSecond is how often an address is asked for, for a node whose name its head may not have heard of yet.
const maxSecond = 5

// newAddress tells whether an edit gives away an address. That of a head is its own. The caller holds mu.
func (r *Registry) newAddress(e edit) bool {
	a := e.after.Address
	return a.IsValid() && a != e.before.Address && r.heads[e.after.Name].Address != a
}

// reachOwners refuses edits that give away what no head that answers can. The caller holds mu.
func (r *Registry) reachOwners(edits []edit) error {
	var errs []error
	refuse := func(field, value string, err error) {
		var gone *awayError
		if errors.As(err, &gone) {
			err = &Refusal{Kind: ErrConflict, Field: field, Value: value, Reason: gone.Error(), Fix: gone.Try()}
		}
		errs = append(errs, err)
	}
	for _, e := range edits {
		if r.newName(e) {
			if _, err := r.nameOwner(e.after.Name); err != nil {
				refuse("name", e.after.Name, err)
			}
		}
		if r.newAddress(e) {
			if _, err := r.owner(state.SlotOf(e.after.Address.String())); err != nil {
				refuse("address", e.after.Address.String(), err)
			}
		}
	}
	return errors.Join(errs...)
}

// awayRefusal says of an error that a head is away which of the things that edits ask for only that head may give; nil:
// none, or another error. No lock is held.
func (r *Registry) awayRefusal(edits []edit, err error) error {
	var gone *awayError
	if !errors.As(err, &gone) {
		return nil
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, e := range edits {
		if a := e.after.Address.String(); r.newAddress(e) && r.holds(gone.head, a) {
			return &Refusal{Kind: gone, Field: "address", Value: a, Reason: gone.Error(), Fix: gone.Try()}
		}
		if r.newName(e) && r.holds(gone.head, e.after.Name) {
			return &Refusal{Kind: gone, Field: "name", Value: e.after.Name, Reason: gone.Error(), Fix: gone.Try()}
		}
	}
	return nil
}

// holds tells whether a head is the one that gives a thing away, also while it is away. It takes no lock.
func (r *Registry) holds(head, thing string) bool {
	holder, _ := r.owner(state.SlotOf(thing)) // the error says that it is away
	return holder == head
}

// write makes edits, all or none, on the head that gives away the new name or the new address among them. Where those
// are two heads, which only an edit of one node can need, the name comes first, and is taken back if the address is not
// to be had. degraded is that of applyAt. No lock is held.
func (r *Registry) write(ctx context.Context, o state.Origin, edits []edit) (degraded string, err error) {
	fail := func(err error) (string, error) {
		if refusal := r.awayRefusal(edits, err); refusal != nil {
			return "", refusal
		}
		return "", fmt.Errorf("change %s: %w", editNames(edits), err)
	}
	at, names, addresses, err := r.writers(edits)
	if err != nil {
		return fail(err)
	}
	if names == "" || addresses == "" || names == addresses {
		if degraded, err = r.writeAt(ctx, at, o, edits); err != nil {
			return fail(err)
		}
		return degraded, nil
	}
	if len(edits) != 1 {
		return fail(errors.New("new names and new addresses of several nodes at once"))
	}
	first := edits[0]
	first.after.Address = first.before.Address
	if _, err := r.writeAt(ctx, names, o, []edit{first}); err != nil {
		return fail(err)
	}
	r.mu.RLock()
	made := r.nodes[first.after.Name]
	r.mu.RUnlock()
	second := edit{made, edits[0].after}
	for try := 1; ; try++ {
		degraded, err = r.writeAt(ctx, addresses, o, []edit{second})
		if !errors.Is(err, state.ErrConflict) || try == maxSecond {
			break
		}
		if pause(ctx, try) != nil { // the name may not be there yet: with three heads another one has acknowledged it
			break
		}
	}
	if err != nil {
		back := edit{made, first.before.Record}
		if _, e := r.writeAt(ctx, r.conf.Head, o, []edit{back}); e != nil {
			return "", fmt.Errorf("change %s: address %s: %w; and the name could not be taken back: %w", made.Name, second.after.Address, err, e)
		}
		if refusal := r.awayRefusal([]edit{second}, err); refusal != nil {
			return "", refusal
		}
		return fail(fmt.Errorf("address %s: %w", second.after.Address, err))
	}
	return degraded, nil
}

// writers names the head that writes edits, and those that give away the names and the addresses among them.
func (r *Registry) writers(edits []edit) (at, names, addresses string, err error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	at = r.conf.Head
	for _, e := range edits {
		if r.newName(e) {
			if names, err = r.nameOwner(e.after.Name); err != nil {
				return "", "", "", err
			}
			at = names
		}
		if r.newAddress(e) {
			if addresses, err = r.owner(state.SlotOf(e.after.Address.String())); err != nil {
				return "", "", "", err
			}
			at = addresses
		}
	}
	return at, names, addresses, nil
}

func (r *Registry) writeAt(ctx context.Context, head string, o state.Origin, edits []edit) (degraded string, err error) {
	var ops []state.Op
	for _, e := range edits {
		more, err := r.editOps(e)
		if err != nil {
			return "", err
		}
		ops = append(ops, more...)
	}
	return r.applyAt(ctx, head, o, ops)
}

// editOps are the changes of an edit and of the lease records of the addresses that it reserves and gives up.
func (r *Registry) editOps(e edit) ([]state.Op, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	ops, err := e.ops(func(mac string) bool { return len(r.byMAC.several[mac]) > 0 })
	if err != nil || e.before.Address == e.after.Address {
		return ops, err
	}
	if r.newAddress(e) {
		op, err := r.meet(e.after.Address)
		if err != nil {
			return nil, err
		}
		ops = append(ops, op)
	}
	if was, ok := r.leases.byIP[e.before.Address]; ok && was.State == reserved && r.byAddr.keeper[e.before.Address] == e.before.Name {
		ops = append(ops, state.Delete(state.KindLease, was.IP.String()).At(was.version))
	}
	return ops, nil
}

// meet writes the lease record of an address anew, so that of two who want the address one finds it changed. A lease
// that is over makes room. The caller holds mu.
func (r *Registry) meet(addr netip.Addr) (state.Op, error) {
	l, ok := r.leases.byIP[addr]
	if !ok || l.Expires.Add(reclaimAfter).Before(r.conf.Now()) {
		l.Lease = Lease{IP: addr, State: reserved}
	}
	op, err := state.Put(state.KindLease, addr.String(), l.Lease)
	return op.At(l.version), err
}
