package appliance

import (
	"errors"
	"fmt"
	"net/netip"

	"masthead/appliance/registry"
	"masthead/appliance/state"
	"masthead/node/wire"
)

// checkImport reports all that would be wrong with the nodes after ops: names, MAC addresses and addresses that are not
// valid or there twice. An image that is not here is none of that: its tag comes with the file, its blobs do not. Pure.
func checkImport(now []state.Record, ops []state.Op) error {
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
	nodes := map[string]registry.Record{}
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
		nodes[name] = n
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
	for name, n := range nodes {
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
	return errors.Join(errs...)
}
