package data

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"masthead/appliance/failover"
)

// thinBench is a Set whose volume lies on LVM. Nothing is on the device unless there is a group.
func thinBench(t *testing.T, heads int, group *Group, exists ...string) *bench {
	t.Helper()
	return newBenchWith(t, heads, func(v *Volume, f *fakeDRBD) {
		v.SnapshotsBy = LVM
		f.lvm, f.mounted, f.tidied = &fakeLVM{group: group, next: 9}, group != nil, make(chan struct{}, 1)
		if group != nil {
			group.Name, f.gi = groupName(v.Device), "AB00000000000001"
		}
	}, exists...)
}

// owning is one that writes, and has a snapshot.
func owning(t *testing.T, change func(*Group)) *bench {
	t.Helper()
	b := thinBench(t, 2, thinGroup(change), strings.Replace(isResource, secondary, primary, 1), strings.Replace(isThere, primary, secondary, 1), isDevice, isPeer)
	<-b.drbd.tidied
	b.drbd.mu.Lock()
	b.drbd.copy, b.drbd.said = connected(primary, secondary), nil
	b.drbd.mu.Unlock()
	b.seeOwn(first)
	b.until(t, "owns", func() bool { return b.look().Copy.Role == primary && b.look().Copy.PeerDisk == upToDate })
	return b
}

func (b *bench) seeOwn(e failover.Epoch) {
	b.see(func(v *View) { v.Self, v.Record.Epoch = "head1", e })
}

// group is what is on the device now.
func (b *bench) group() *Group {
	b.drbd.mu.Lock()
	defer b.drbd.mu.Unlock()
	g := *b.drbd.lvm.group
	g.Volumes = slices.Clone(g.Volumes)
	return &g
}

// changes are the commands that change something, without what those of LVM have in common.
func (b *bench) changes() (all []string) {
	for _, line := range b.drbd.commands() {
		program, rest, _ := strings.Cut(line, " --devices ")
		_, rest, found := strings.Cut(rest, lvmConfig+" ")
		switch {
		case program == "vgs" || program == "lvs":
		case found:
			all = append(all, program+" "+rest)
		default:
			all = append(all, line)
		}
	}
	return all
}

// A blank device becomes a group, a pool, a thin volume, and then a copy.
func TestThinBegins(t *testing.T) {
	b := thinBench(t, 1, nil)
	b.see(func(v *View) { v.Peer = PeerView{} })
	if err := b.Promote(t.Context(), "data"); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"thin_check -V", "vgcreate --addtag masthead masthead-disk " + b.volumes[0].Device,
		"lvcreate --yes --type thin-pool --extents 100%FREE --name thin.pool masthead-disk",
		"lvcreate --yes --type thin --thinpool thin.pool --virtualsize 734003200b --name data masthead-disk",
		"create-md --force data", "new-resource data", "new-minor data", "attach data", "primary --force data",
	}
	if got := b.changes(); !slices.Equal(got, want) {
		t.Errorf("commands\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// What is another's is left alone, and said.
func TestThinForeign(t *testing.T) {
	b := newBenchWith(t, 2, func(v *Volume, f *fakeDRBD) {
		v.SnapshotsBy = LVM
		f.lvm, f.gi = &fakeLVM{group: &Group{Name: "vg0", Volumes: []Logical{{Name: "root", Size: 1}, {Name: "data", Size: 1, Suspended: true}}}}, "AB00000000000001"
	})
	b.see(nil)
	b.until(t, "is looked at", func() bool { return strings.Contains(b.volumes[0].why, "vg0, which is not masthead's") })
	thin{b.Set, b.volumes[0]}.tidy(t.Context())
	if got := b.changes(); len(got) > 0 {
		t.Errorf("commands %q", got)
	}
	b.drbd.mu.Lock()
	b.drbd.lvm.group = thinGroup(func(g *Group) { g.Name = "masthead-disk" })
	b.drbd.mu.Unlock()
	thin{b.Set, b.volumes[0]}.lookAgain()
	b.until(t, "is looked at again", func() bool { return b.look().Copy.There })
}

// A head whose image lacks the programs says what to add.
func TestThinWithoutPrograms(t *testing.T) {
	for program, want := range map[string]string{"vgs": "lvm2", "lvcreate": "lvm2", "thin_check": "thin-provisioning-tools", "drbdadm": "drbd-utils"} {
		if got := withTry(&missing{program}); !strings.Contains(got, want) {
			t.Errorf("%s: %q", program, got)
		}
	}
	lacks := Config{Load: func(string) error { return os.ErrNotExist }}
	if got := withTry(lacks.load("dm-thin-pool")); !strings.Contains(got, "dm-thin-pool") || !strings.Contains(got, "image") {
		t.Errorf("no module: %q", got)
	}
}

// A file system that was made to stand still goes on, whatever becomes of the snapshot.
func TestThinTake(t *testing.T) {
	path := root("data")
	for _, tt := range []struct {
		name, fails string
		mounted     bool
		full        float64
		want        []string // commands, without the snapshot's name
	}{
		{"good", "", true, 20, []string{"fsfreeze --freeze " + path, "lvcreate", "fsfreeze --unfreeze " + path}},
		{"no snapshot", "lvcreate", true, 20, []string{"fsfreeze --freeze " + path, "lvcreate", "fsfreeze --unfreeze " + path}},
		{"does not stand still", "fsfreeze --freeze", true, 20, []string{"fsfreeze --freeze " + path, "fsfreeze --unfreeze " + path}},
		{"tight", "a", true, 81, nil},
	} {
		b := owning(t, func(g *Group) { g.named(poolName).Used = tt.full })
		b.drbd.mu.Lock()
		b.drbd.failing = tt.fails
		b.drbd.said = nil
		b.drbd.mu.Unlock()
		made, err := b.Snapshot(t.Context(), "data", "before-update")
		if (err != nil) != (tt.fails != "") {
			t.Errorf("%s: %v", tt.name, err)
		}
		if b.drbd.frozen {
			t.Errorf("%s: the file system stands still", tt.name)
		}
		got := b.changes()
		for i, line := range got {
			if strings.HasPrefix(line, "lvcreate") {
				if want := "lvcreate --yes --snapshot --permission r --setactivationskip y --name data." + made + " masthead-disk/data"; line != want {
					t.Errorf("%s: %q, want %q", tt.name, line, want)
				}
				got[i] = "lvcreate"
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: commands %q, want %q", tt.name, got, tt.want)
		}
		if tt.fails != "" {
			continue
		}
		have, err := b.Snapshots(t.Context(), "data")
		if err != nil || len(have) != 2 || have[1].Name != made {
			t.Errorf("%s: %+v, %v", tt.name, have, err)
		}
		if err := b.RemoveSnapshot(t.Context(), "data", made); err != nil || len(b.group().Volumes) != 3 {
			t.Errorf("%s: removed: %+v, %v", tt.name, b.group().Volumes, err)
		}
		if err := b.RemoveSnapshot(t.Context(), "data", "20260102-150405-other"); err == nil {
			t.Error("removed one that is not there")
		}
	}
}

// A file system that is to go on does so, also after a time without memory for a program, and though nobody waits any more.
func TestThinThaws(t *testing.T) {
	b := owning(t, nil)
	b.drbd.mu.Lock()
	b.drbd.frozen, b.drbd.refuses = true, 2
	b.drbd.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, what := range []string{"stands still", "does not"} {
		if err := (thin{b.Set, b.volumes[0]}).thaw(ctx); err != nil || b.drbd.frozen {
			t.Errorf("%s: %v", what, err)
		}
	}
	if n := strings.Count(strings.Join(b.drbd.told, "; "), "does not go on yet"); n != 1 {
		t.Errorf("told %q", b.drbd.told)
	}
}

// A volume that is left standing still by a daemon that was killed goes on before anything is asked of LVM, which may take long.
func TestThinThawsFirst(t *testing.T) {
	b := owning(t, nil)
	b.drbd.mu.Lock()
	b.drbd.frozen, b.drbd.said = true, nil
	b.drbd.mu.Unlock()
	thin{b.Set, b.volumes[0]}.tidy(t.Context())
	if got := b.drbd.commands(); !strings.HasPrefix(got[0], "fsfreeze --unfreeze") {
		t.Errorf("commands %q", got)
	}
}

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

// A snapshot is mounted without being written to, and everything is put away afterwards.
func TestThinOpen(t *testing.T) {
	b := owning(t, nil)
	v := &volume{Volume: Volume{Name: "data", Device: b.volumes[0].Device, Filesystem: Ext4, SnapshotsBy: LVM}}
	shown := thin{b.Set, v}.shown()
	for _, fails := range []string{"", "mount"} {
		b.drbd.mu.Lock()
		b.drbd.said, b.drbd.failing = nil, fails
		b.drbd.mu.Unlock()
		path, shut, err := thin{b.Set, v}.open(t.Context(), aSnapshot)
		if (err != nil) != (fails != "") {
			t.Fatal(err)
		}
		want := []string{"lvchange --activate y --ignoreactivationskip masthead-disk/data." + aSnapshot, "mount -t ext4 -o ro,noload /dev/masthead-disk/data." + aSnapshot + " AT"}
		if err == nil {
			if err := shut(); err != nil {
				t.Fatal(err)
			}
			want = append(want, "umount AT")
		}
		want = append(want, "lvchange --activate n masthead-disk/data."+aSnapshot)
		got := b.changes()
		for i, line := range got {
			if at := strings.Index(line, shown); at >= 0 {
				if path != "" && line[at:] != filepath.Dir(path) {
					t.Errorf("%q does not mount at %s", line, path)
				}
				got[i] = line[:at] + "AT"
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: commands\n%s\nwant\n%s", fails, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if left, _ := os.ReadDir(shown); len(left) > 0 {
			t.Errorf("%q: left %v", fails, left)
		}
	}
}

// What a daemon that was killed has left is undone when the next one begins.
func TestThinTidies(t *testing.T) {
	g := thinGroup(func(g *Group) {
		g.named("data").Suspended, g.named("data."+aSnapshot).Active = true, true
		g.Volumes = append(g.Volumes, Logical{Name: "mail.20260102-150405-manual", Active: true}, Logical{Name: wasLive, Active: true, Tags: []string{Wish{aSnapshot, first}.tag()}})
	})
	var got []string
	for _, argv := range thinVolume.leftovers("/dev/vdb", g) {
		got = append(got, said(argv))
	}
	want := []string{"lvchange --refresh masthead-vdb/data", "lvchange --activate n masthead-vdb/data." + aSnapshot}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
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
