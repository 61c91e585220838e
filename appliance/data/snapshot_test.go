package data

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"
)

// A volume whose device does not answer holds up who asks for its snapshots, and nobody else.
func TestSnapshotsOfADeviceThatDoesNotAnswer(t *testing.T) {
	b := following(t)
	b.drbd.become(func(c *Copy) { *c = connected(primary, secondary) })
	b.until(t, "owns", func() bool { return b.look().Copy.Role == primary })
	asked, answers := make(chan struct{}, 1), make(chan struct{})
	defer close(answers)
	b.cfg.Tools.InUse = func(string) bool {
		notify(asked)
		<-answers
		return true
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	done := make(chan error, 1)
	go func() {
		_, err := b.Snapshots(ctx, "data")
		done <- err
	}()
	<-asked
	b.Standing(b.view) // returns
	cancel()
	if err := <-done; !errors.Is(err, errStuck) {
		t.Errorf("got %v", err)
	}
}

// While DRBD has the I/O of a volume wait nothing is begun that could not be ended.
func TestNoSnapshotWhileWritesWait(t *testing.T) {
	for _, by := range []string{Btrfs, LVM} {
		b := newBenchWith(t, 2, func(v *Volume, f *fakeDRBD) {
			v.SnapshotsBy, v.Snapshots = by, []Schedule{{"1h", 2}}
			f.mounted, f.lvm, f.gi = true, &fakeLVM{group: thinGroup(func(g *Group) { g.Name = groupName(v.Device) })}, "AB00000000000001"
			f.tidied = make(chan struct{}, 1)
		}, isResource, isDevice)
		if by == LVM {
			<-b.drbd.tidied
		}
		b.drbd.become(func(c *Copy) {
			*c = lost(connected(primary, secondary), upToDate, "DUnknown")
			c.Suspended = "fencing"
		})
		b.until(t, "waits", func() bool { return b.look().Copy.Frozen() })
		var refused *Refused
		if _, err := b.Snapshot(t.Context(), "data", KindManual); !errors.As(err, &refused) {
			t.Errorf("%s: got %v", by, err)
		}
		b.drbd.mu.Lock()
		b.drbd.said = nil
		b.drbd.mu.Unlock()
		if err := b.scheduled(t.Context(), b.volumes[0]); err != nil || len(b.drbd.commands()) > 0 {
			t.Errorf("%s: %v, %q", by, err, b.drbd.commands())
		}
	}
}

// The snapshot that a person wants to have back is there until it is, whoever would remove it.
func TestWishedSnapshotStays(t *testing.T) {
	const hourly = "20260102-000000-every-1h" // and no schedule keeps it
	b := owning(t, func(g *Group) {
		g.Volumes = append(g.Volumes, Logical{Name: "data." + hourly, Pool: poolName, Origin: "data", Size: 1})
	})
	if err := b.Rollback(t.Context(), "data", hourly); err != nil {
		t.Fatal(err)
	}
	if err := b.scheduled(t.Context(), b.volumes[0]); err != nil || b.group().named("data."+hourly) == nil {
		t.Errorf("a schedule removed it: %v", err)
	}
	var refused *Refused
	if err := b.RemoveSnapshot(t.Context(), "data", hourly); !errors.As(err, &refused) || b.group().named("data."+hourly) == nil {
		t.Errorf("a person removed it: %v", err)
	}

	name, err := filepath.Rel(root(""), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	v := &volume{Volume: Volume{Name: name}}
	k := subvolumes{b.Set, v}
	if got := b.stays(k, v, hourly); got != "" {
		t.Errorf("without a wish: %q", got)
	}
	if err := k.wish(t.Context(), hourly); err != nil {
		t.Fatal(err)
	}
	if b.stays(k, v, hourly) == "" || b.stays(k, v, aSnapshot) != "" {
		t.Errorf("the wish for %q is not seen", k.wished())
	}
}
