package data

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

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
