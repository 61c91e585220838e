package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"masthead/appliance/data"
	"masthead/node/wire"
)

// snapshotWithin bounds the snapshots before an upgrade: an owner whose writes wait for the other copy would hold it up.
const snapshotWithin = 30 * time.Second

// snapshotFirst keeps the state of the replicated data as it is before another image runs with it. What cannot be kept is no
// reason not to upgrade, and is said.
func (a *app) snapshotFirst(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, snapshotWithin)
	defer cancel()
	c, err := a.remote.client()
	var all []wire.DataVolume
	if err == nil {
		all, err = c.Data(ctx)
	}
	if err != nil {
		fmt.Fprintf(a.err, "warning: no snapshot of the replicated data before the upgrade: %v\n", err)
		return
	}
	for _, volume := range withSnapshots(all) {
		out, err := c.ChangeSnapshots(ctx, volume, wire.SnapshotChange{Action: "create", Name: data.KindUpgrade})
		if err != nil {
			fmt.Fprintf(a.err, "warning: no snapshot of volume %s before the upgrade: %v\n", volume, err)
			continue
		}
		fmt.Fprintf(a.out, "volume %s: snapshot %s\n", volume, out.Name)
	}
}

// withSnapshots are the volumes that are written to somewhere, and can keep their states.
func withSnapshots(all []wire.DataVolume) (names []string) {
	for _, v := range all {
		if (v.SnapshotsBy != "" || v.Filesystem == data.Btrfs) && v.Role == "Primary" && !slices.Contains(names, v.Name) {
			names = append(names, v.Name)
		}
	}
	return names
}
