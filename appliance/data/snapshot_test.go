package data

import (
	"context"
	"errors"
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
		b := following(t)
		b.volumes[0].SnapshotsBy, b.volumes[0].Volume.Snapshots = by, []Schedule{{"1h", 2}}
		b.drbd.mu.Lock()
		b.drbd.mounted, b.drbd.lvm = true, &fakeLVM{group: thinGroup(func(g *Group) { g.Name = groupName(b.volumes[0].Device) })}
		b.drbd.mu.Unlock()
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
