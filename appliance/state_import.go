package appliance

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"masthead/appliance/configuration"
	"masthead/appliance/registry"
	"masthead/appliance/state"
	"masthead/node/wire"
)

// importedNodes are the nodes that there are after an import.
type importedNodes map[string]registry.Record

func (all importedNodes) Record(name string) (registry.Record, bool) {
	n, ok := all[name]
	return n, ok
}

func (all importedNodes) ByAddress(a netip.Addr) (registry.Record, bool) {
	for _, n := range all {
		if n.Address == a {
			return n, true
		}
	}
	return registry.Record{}, false
}

// checkImportedDocument refuses a document that `cluster set` would refuse beside those nodes. Where none is in force, as where
// a new head is given what another one had, it need only be right by itself. Secrets that are missing may come later.
func (h *Head) checkImportedDocument(ctx context.Context, ops []state.Op, n nodes, now time.Time) error {
	i := slices.IndexFunc(ops, func(op state.Op) bool { return op.Key == clusterKey })
	if i < 0 {
		return nil
	}
	var next wire.ClusterConfig // zero: prune deletes it
	if value := ops[i].Value; value != nil {
		var err error
		if next, err = state.Decode[wire.ClusterConfig](state.Record{Key: clusterKey, Value: value}); err != nil {
			return err
		}
	}
	doc, err := configuration.Parse(documentName, []byte(next.Text))
	if err != nil {
		return err
	}
	before, _, err := h.clusterConfig()
	if err != nil || before.Text == "" || before.Text == next.Text {
		return err
	}
	f, _, err := h.checkFit(ctx, before.Text, next.Text, doc, n, now)
	if err != nil {
		return err
	}
	return errors.Join(f.errs...)
}

// checkImport reports all that would be wrong with the nodes after ops: names, MAC addresses and addresses that are not
// valid or there twice. An image that is not here is none of that: its tag comes with the file, its blobs do not. Pure.
func checkImport(now []state.Record, ops []state.Op) (importedNodes, error) {
	after := map[string]state.Record{}
	for _, r := range now {
		if r.Key.Kind == state.KindNode && !r.Deleted {
			after[r.Key.Name] = r
		}
	}
	changed := map[string]bool{}
	for _, op := range ops {
		if op.Key.Kind != state.KindNode {
			continue
		}
		delete(after, op.Key.Name)
		if op.Value != nil {
			after[op.Key.Name] = state.Record{Key: op.Key, Value: op.Value}
			changed[op.Key.Name] = true
		}
	}
	all := importedNodes{}
	macs, addresses := map[string]string{}, map[netip.Addr]string{}
	var errs []error
	for name, r := range after {
		n, err := state.Decode[registry.Record](r)
		if err != nil {
			if changed[name] {
				errs = append(errs, err)
			}
			continue
		}
		n.Name = name
		all[name] = n
		if other, ok := macs[n.MAC]; !ok || changed[other] { // what stays is not what is wrong
			macs[n.MAC] = name
		}
		if other, ok := addresses[n.Address]; !ok || changed[other] {
			addresses[n.Address] = name
		}
	}
	others := registry.Others{
		ByName:    func(string) (string, bool) { return "", false }, // keys are there once
		ByMAC:     func(mac string) (string, bool) { name, ok := macs[mac]; return name, ok },
		ByAddress: func(a netip.Addr) (string, bool) { name, ok := addresses[a]; return name, ok },
	}
	for name, n := range all {
		if !changed[name] {
			continue
		}
		c := wire.NodeChange{Name: &name, MAC: &n.MAC}
		if n.Address.IsValid() {
			text := n.Address.String()
			c.Address = &text
		}
		if err := registry.Validate(name, c, others); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", state.Key{Kind: state.KindNode, Name: name}, err))
		}
	}
	return all, errors.Join(errs...)
}
