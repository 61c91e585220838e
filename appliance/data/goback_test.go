package data

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"masthead/appliance/failover"
)

// The snapshot goes to the place of the volume, what was there becomes one, and DRBD is told that the other copy has none of it.
func TestThinGoesBack(t *testing.T) {
	b := owning(t, nil)
	b.drbd.mu.Lock()
	b.drbd.gi = "AB00000000000000"
	b.drbd.said = nil
	b.drbd.mu.Unlock()
	if err := b.Rollback(t.Context(), "data", aSnapshot); err != nil {
		t.Fatal(err)
	}
	if err := b.Demote(t.Context(), "data"); err != nil {
		t.Fatal(err)
	}
	if err := b.Promote(t.Context(), "data"); err != nil {
		t.Fatal(err)
	}
	got := b.changes()
	var was, gi string
	for i, line := range got {
		if f := strings.Fields(line); f[0] == "lvrename" && f[2] == "data" {
			was, got[i] = f[3], "lvrename masthead-disk data WAS"
		}
		if f := strings.Fields(line); f[0] == "--" {
			gi, got[i] = f[2], "-- --force GI set-gi data"
		}
		if was != "" {
			got[i] = strings.ReplaceAll(got[i], "disk/"+was, "disk/WAS")
		}
	}
	want := []string{
		"lvchange --addtag back:17:" + aSnapshot + " masthead-disk/data", "secondary data", "down data",
		"lvcreate --yes --snapshot --permission rw --setactivationskip n --name data.next masthead-disk/data." + aSnapshot,
		"-- --force GI set-gi data", "apply-al data", "lvrename masthead-disk data WAS", "lvrename masthead-disk data.next data",
		"lvchange --activate n masthead-disk/WAS", "lvchange --permission r --setactivationskip y --deltag back:17:" + aSnapshot + " masthead-disk/WAS",
		"up data", "primary data",
	}
	if !slices.Equal(got, want) {
		t.Errorf("commands\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	b.drbd.mu.Lock()
	if told := strings.Join(b.drbd.told, "; "); strings.Contains(told, "lost") || strings.Contains(told, "failed") || !strings.Contains(told, "went back to the snapshot") {
		t.Errorf("it is told that %s", told)
	}
	b.drbd.mu.Unlock()
	if !strings.HasSuffix(gi, ":AB00000000000000:0000000000000000:0000000000000000:1:1:0:0:1:0:0") {
		t.Errorf("generations %s", gi)
	}
	if one, ok := parseSnapshot(strings.TrimPrefix(was, "data.")); !ok || one.Kind != KindRollback {
		t.Errorf("what was before is %q", was)
	}
	if l := b.look(); l.Back != (Wish{}) || l.Copy.Role != primary {
		t.Errorf("afterwards %+v", l)
	}
}

// A copy that went back and does not see the other one again can be written to, by the arbiter's word.
func TestThinGoesBackAlone(t *testing.T) {
	b := owning(t, nil)
	b.drbd.mu.Lock()
	b.drbd.gi, b.drbd.apart = "AB00000000000000", true
	b.drbd.mu.Unlock()
	if err := b.Rollback(t.Context(), "data", aSnapshot); err != nil {
		t.Fatal(err)
	}
	if err := b.Demote(t.Context(), "data"); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- b.Promote(t.Context(), "data") }()
	b.until(t, "went back", func() bool { return b.look().Copy.Disk == consistent })
	if got := b.Standing(b.view).Data; got != failover.DataAlone {
		t.Errorf("counts as %v", got)
	}
	b.drbd.become(func(c *Copy) { *c = connected(secondary, secondary) }) // which is waited for
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if l := b.look(); l.WentBack != 0 {
		t.Errorf("afterwards %+v", l)
	}
}

// Where it cannot go back, or something fails on the way, the volume is what it was and is used again.
func TestThinStays(t *testing.T) {
	for _, tt := range []struct {
		name, fails string
		epoch       failover.Epoch
	}{
		{"another epoch", "", second}, {"no copy of the snapshot", "lvcreate", first}, {"the first name", "lvrename --devices", first},
	} {
		b := owning(t, nil)
		b.drbd.mu.Lock()
		b.drbd.gi = "AB00000000000000"
		b.drbd.mu.Unlock()
		if err := b.Rollback(t.Context(), "data", aSnapshot); err != nil {
			t.Fatal(err)
		}
		if err := b.Demote(t.Context(), "data"); err != nil {
			t.Fatal(err)
		}
		b.seeOwn(tt.epoch)
		b.drbd.mu.Lock()
		b.drbd.failing = tt.fails
		b.drbd.mu.Unlock()
		if err := b.Promote(t.Context(), "data"); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		g := b.group()
		if len(g.Volumes) != 3 || g.named("data").Origin != "" || len(g.named("data").Tags) > 0 || b.look().Back != (Wish{}) {
			t.Errorf("%s: %+v, %+v", tt.name, g.Volumes, b.look().Back)
		}
	}
}

func TestThinRefusesToGoBack(t *testing.T) {
	b := owning(t, nil)
	var refused *Refused
	if err := b.Rollback(t.Context(), "data", "20260102-150405-other"); !errors.As(err, &refused) {
		t.Errorf("a snapshot that is not there: %v", err)
	}
	b.drbd.become(func(c *Copy) { c.PeerDisk, c.Replication = inconsistent, "SyncSource" })
	b.until(t, "a resync", func() bool { return b.look().Copy.Syncing() })
	if err := b.Rollback(t.Context(), "data", aSnapshot); !errors.As(err, &refused) {
		t.Errorf("in the middle of a resync: %v", err)
	}
	b.mu.Lock()
	b.cfg.Major = 9
	b.mu.Unlock()
	if err := b.Rollback(t.Context(), "data", aSnapshot); !errors.As(err, &refused) || !strings.Contains(err.Error(), "8.4") {
		t.Errorf("DRBD 9: %v", err)
	}
	if len(b.group().named("data").Tags) > 0 {
		t.Error("a wish stays")
	}
}
