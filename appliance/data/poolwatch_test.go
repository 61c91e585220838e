package data

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// A copy that becomes the target of a resync is kept first, unless the pool has no room for what comes; a pool that is full is
// relieved of what masthead has made by itself.
func TestThinBeforeResync(t *testing.T) {
	resync := func(n int) Logical {
		return Logical{Name: "data.2026010" + string(rune('0'+n)) + "-000000-resync", Pool: poolName, Origin: "data", Size: 1}
	}
	follower := func(change func(*Group), exists ...string) *bench {
		b := thinBench(t, 2, thinGroup(change), exists...)
		b.until(t, "follows", func() bool { return b.look().Copy.Disk != "" })
		if err := b.Tell(t.Context(), "before-resync-target", "data"); err != nil {
			t.Fatal(err)
		}
		return b
	}
	kinds := func(b *bench) (n int) {
		g := b.group()
		for _, s := range b.volumes[0].snapshots(g) {
			if s.Kind == KindResync {
				n++
			}
		}
		return n
	}
	b := follower(func(g *Group) { g.Volumes = append(g.Volumes, resync(1), resync(2), resync(3)) }, isResource, isDevice)
	if kinds(b) != 4 {
		t.Errorf("%+v", b.group().Volumes)
	}
	thin{b.Set, b.volumes[0]}.watch(t.Context())
	if g := b.group(); kinds(b) != kindsKept[KindResync] || g.named(resync(1).Name) != nil {
		t.Errorf("%+v", g.Volumes)
	}
	for age, want := range map[time.Duration]int{10 * time.Second: 1, 2 * time.Minute: 2} {
		made := snapshotName(time.Now().Add(-age), KindResync)
		if b := follower(func(g *Group) { g.Volumes = append(g.Volumes, Logical{Name: "data." + made, Pool: poolName, Size: 1}) }, isResource, isDevice); kinds(b) != want {
			t.Errorf("%v after another one: %+v", age, b.group().Volumes)
		}
	}
	if b := follower(nil, isResource, strings.Replace(isDevice, upToDate, inconsistent, 1)); kinds(b) != 0 {
		t.Error("half of a copy was kept")
	}
	full := follower(func(g *Group) {
		g.named(poolName).Used = 95
		g.Volumes = append(g.Volumes, resync(1), resync(2))
	}, isResource, isDevice)
	if kinds(full) != 2 {
		t.Error("a snapshot in a full pool")
	}
	full.drbd.mu.Lock()
	full.drbd.lvm.gives = 1
	full.drbd.mu.Unlock()
	pause := thin{full.Set, full.volumes[0]}.watch(t.Context())
	if kinds(full) != 0 || full.group().Volumes[2].Name != "data."+aSnapshot || pause != watchBusy {
		t.Errorf("a full pool: %+v, %v", full.group().Volumes, pause)
	}
	if all := full.Volumes(); !strings.Contains(all[0].Trouble, "93 % full") {
		t.Errorf("trouble %q", all[0].Trouble)
	}
}

// DRBD, and with it the owner's writes, wait only so long for the snapshot before a resync. What comes later is removed.
func TestThinBeforeResyncIsLate(t *testing.T) {
	b := thinBench(t, 2, thinGroup(nil), isResource, isDevice)
	b.until(t, "follows", func() bool { return b.look().Copy.Disk != "" })
	begun, gate, removed := make(chan struct{}), make(chan struct{}), make(chan struct{})
	b.drbd.mu.Lock()
	b.drbd.around = func(line string) func() {
		switch {
		case strings.HasPrefix(line, "lvcreate"):
			close(begun)
			<-gate
		case strings.HasPrefix(line, "lvremove"):
			return func() { close(removed) }
		}
		return func() {}
	}
	b.drbd.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Tell(ctx, "before-resync-target", "data") }()
	<-begun
	cancel() // as the end of beforeResyncTime does
	if err := <-done; err != nil {
		t.Error(err)
	}
	close(gate)
	<-removed
	if g := b.group(); len(g.Volumes) != 3 {
		t.Errorf("%+v", g.Volumes)
	}
	b.drbd.mu.Lock()
	defer b.drbd.mu.Unlock()
	if told := strings.Join(b.drbd.told, "; "); !strings.Contains(told, "takes too long") {
		t.Errorf("told %q", told)
	}
}

// A volume that LVM has left suspended while the daemon ran goes on too; what somebody looks at is left alone.
func TestThinResumes(t *testing.T) {
	b := owning(t, nil)
	b.drbd.mu.Lock()
	b.drbd.lvm.group.named("data").Suspended, b.drbd.lvm.group.named("data."+aSnapshot).Active = true, true
	b.drbd.mu.Unlock()
	thin{b.Set, b.volumes[0]}.watch(t.Context())
	if g := b.group(); g.named("data").Suspended || !g.named("data."+aSnapshot).Active {
		t.Errorf("%+v", g.Volumes)
	}
}

// One snapshot that cannot be removed keeps neither the pool from being relieved nor the surplus of the schedules, and what is
// looked at stays.
func TestThinRemovesTheOthers(t *testing.T) {
	made := func(hour int) string { return fmt.Sprintf("20260102-%02d0000-every-1h", hour) }
	has := func(b *bench) (all []string) {
		for _, s := range b.volumes[0].snapshots(b.group()) {
			if s.Name != aSnapshot {
				all = append(all, s.Name)
			}
		}
		return all
	}
	begin := func(full float64) *bench {
		b := owning(t, func(g *Group) {
			g.named(poolName).Used = full
			for hour := range 5 {
				g.Volumes = append(g.Volumes, Logical{Name: "data." + made(hour), Pool: poolName, Origin: "data", Size: 1})
			}
		})
		b.drbd.mu.Lock()
		b.drbd.sticks, b.drbd.lvm.gives = made(0), 1
		b.drbd.mu.Unlock()
		b.show("data", made(2), 1)
		return b
	}
	b := begin(95)
	pause := thin{b.Set, b.volumes[0]}.watch(t.Context())
	if got, want := has(b), []string{made(0), made(2)}; !slices.Equal(got, want) || pause != watchBusy {
		t.Errorf("a full pool keeps %q, want %q; %v", got, want, pause)
	}
	if all := b.Volumes(); !strings.Contains(all[0].Trouble, "92 % full") {
		t.Errorf("trouble %q", all[0].Trouble)
	}
	b = begin(20) // without a schedule they are all surplus
	if err := b.scheduled(t.Context(), b.volumes[0]); err == nil {
		t.Error("nothing is said of the one that is not removed")
	}
	if got, want := has(b), []string{made(0), made(2)}; !slices.Equal(got, want) {
		t.Errorf("it keeps %q, want %q", got, want)
	}
	var refused *Refused
	if err := b.RemoveSnapshot(t.Context(), "data", made(2)); !errors.As(err, &refused) {
		t.Errorf("what is looked at: %v", err)
	}
	b.show("data", made(2), -1)
	if err := b.RemoveSnapshot(t.Context(), "data", made(2)); err != nil {
		t.Error(err)
	}
}

// A state of the pool's metadata that was left by who was killed is given up before snapshots are removed in vain; and where a
// removal gives nothing back, the others are not all removed at once.
func TestThinRemovesNothingInVain(t *testing.T) {
	begin := func() *bench {
		return owning(t, func(g *Group) {
			g.named(poolName).Used = 92
			for hour, kind := range []string{KindResync, KindUpgrade, KindResync, KindUpgrade, KindResync} { // no more than are kept
				g.Volumes = append(g.Volumes, Logical{Name: fmt.Sprintf("data.20260102-%02d0000-%s", hour, kind), Pool: poolName, Origin: "data", Size: 1})
			}
		})
	}
	b := begin()
	b.drbd.mu.Lock()
	b.drbd.lvm.gives, b.drbd.lvm.held = 3, true
	b.drbd.mu.Unlock()
	thin{b.Set, b.volumes[0]}.watch(t.Context())
	if g := b.group(); g.pool().Used != 89 || len(g.Volumes) != 3+4 {
		t.Errorf("%+v", g.Volumes)
	}
	b = begin()
	if pause := (thin{b.Set, b.volumes[0]}).watch(t.Context()); len(b.group().Volumes) != 3+4 || pause != watchBusy {
		t.Errorf("in vain: %+v, %v", b.group().Volumes, pause)
	}
}

var _ = []keeper{thin{}, subvolumes{}}
