package data

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"masthead/appliance/failover"
)

const (
	aSnapshot = "20260102-150405-manual"
	wasLive   = "data.20260102-160000-rollback"
)

var thinVolume = Volume{Name: "data", Device: "/dev/vdb", SnapshotsBy: LVM, Filesystem: Ext4}

// thinGroup is a group with a volume and a snapshot in it.
func thinGroup(change func(*Group)) *Group {
	g := &Group{Name: "masthead-vdb", Tags: []string{groupTag}, Volumes: []Logical{
		{Name: poolName, Size: 1000 << 20, Used: 20, MetaUsed: 10, Active: true},
		{Name: "data", Pool: poolName, Size: 700 << 20, Used: 30, MetaUsed: -1, Active: true, ID: 1},
		{Name: "data." + aSnapshot, Pool: poolName, Origin: "data", Size: 700 << 20, Used: -1, MetaUsed: -1, ID: 2},
	}}
	if change != nil {
		change(g)
	}
	return g
}

// without takes volumes out of a group.
func (g *Group) without(names ...string) {
	g.Volumes = slices.DeleteFunc(g.Volumes, func(l Logical) bool { return slices.Contains(names, l.Name) })
}

// TestMoveGolden says what is done beneath a copy in each state that it can be found in.
func TestMoveGolden(t *testing.T) {
	wish := Wish{aSnapshot, first}.tag()
	sized := thinVolume
	sized.Size = "512M"
	large := thinVolume
	large.Size = "2G"
	shared := Logical{Name: "mail", Pool: poolName, Size: 600 << 20, Active: true}
	tests := []struct {
		name  string
		v     Volume
		blank bool
		g     *Group
	}{
		{"blank", thinVolume, true, nil},
		{"something that nobody knows", thinVolume, false, nil},
		{"another's group", thinVolume, false, &Group{Name: "vg0"}},
		{"another's group of that name", thinVolume, false, thinGroup(func(g *Group) { g.Tags = nil })},
		{"the group of another device", thinVolume, false, thinGroup(func(g *Group) { g.Name = "masthead-sdb" })},
		{"an empty group", thinVolume, false, thinGroup(func(g *Group) { g.Volumes = nil })},
		{"a group without a pool", thinVolume, false, thinGroup(func(g *Group) { g.without(poolName) })},
		{"a pool", thinVolume, false, thinGroup(func(g *Group) { g.Volumes = g.Volumes[:1] })},
		{"a pool, and a size", sized, false, thinGroup(func(g *Group) { g.Volumes = g.Volumes[:1] })},
		{"a pool that is too small", large, false, thinGroup(func(g *Group) { g.Volumes = g.Volumes[:1] })},
		{"a pool with another volume", sized, false, thinGroup(func(g *Group) { g.Volumes = append(g.Volumes[:1], shared) })},
		{"the volume is gone", thinVolume, false, thinGroup(func(g *Group) { g.without("data") })},
		{"all is there", thinVolume, false, thinGroup(nil)},
		{"after a boot", thinVolume, false, thinGroup(func(g *Group) { g.named("data").Active = false })},
		{"suspended", thinVolume, false, thinGroup(func(g *Group) { g.named("data").Suspended = true })},
		{"a wish", thinVolume, false, thinGroup(func(g *Group) { g.named("data").Tags = []string{wish} })},
		{"going back: half of what comes", thinVolume, false, thinGroup(func(g *Group) { g.Volumes = append(g.Volumes, Logical{Name: "data.next"}) })},
		{"going back: between the names", thinVolume, false, thinGroup(func(g *Group) {
			g.without("data")
			g.Volumes = append(g.Volumes, Logical{Name: wasLive, Tags: []string{wish}, Active: true}, Logical{Name: "data.next", Active: true})
		})},
		{"gone back, and what was is active", thinVolume, false, thinGroup(func(g *Group) {
			g.Volumes = append(g.Volumes, Logical{Name: wasLive, Tags: []string{wish}, Active: true})
		})},
		{"gone back, and what was is no snapshot yet", thinVolume, false, thinGroup(func(g *Group) { g.Volumes = append(g.Volumes, Logical{Name: wasLive, Tags: []string{wish}}) })},
	}
	var out strings.Builder
	for _, tt := range tests {
		m := tt.v.move("/dev/vdb", "masthead-vdb", tt.blank, tt.g)
		fmt.Fprintf(&out, "%s: %s %s\n", tt.name, [...]string{"stands", "mend", "make", "foreign"}[m.Kind], said(m.Argv)+m.Why)
	}
	golden(t, "moves.txt", out.String())
}

// said is a command of LVM without what all have in common.
func said(argv []string) string {
	text := strings.Join(argv, " ")
	return strings.Replace(text, " --devices /dev/vdb --config "+lvmConfig, "", 1)
}

// golden compares with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// However far going back has come when the power fails: what is done next ends with a volume, and loses none of its states.
func TestMoveEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := &fakeLVM{group: thinGroup(nil)}
		wish := Wish{aSnapshot, first}.tag()
		steps := [][]string{
			{"lvchange", "--addtag", wish, "masthead-vdb/data"},
			thinVolume.copies("/dev/vdb", "masthead-vdb", aSnapshot),
			{"lvrename", "masthead-vdb", "data", wasLive},
			{"lvrename", "masthead-vdb", "data.next", "data"},
			{"lvchange", "--activate", "n", "masthead-vdb/" + wasLive},
		}
		done := rapid.IntRange(0, len(steps)).Draw(t, "done")
		for _, argv := range steps[:done] {
			if err := f.do(argv); err != nil {
				t.Fatal(err)
			}
		}
		if rapid.Bool().Draw(t, "boot") {
			for i := range f.group.Volumes {
				f.group.Volumes[i].Active = f.group.Volumes[i].Name == poolName
			}
		}
		for range mostMoves {
			m := thinVolume.move("/dev/vdb", "masthead-vdb", false, f.group)
			if m.Kind == Stands {
				live := f.group.named("data")
				back := f.group.named(wasLive)
				if (done >= 4) != (back != nil) || (done >= 4) != (live.Origin == "data."+aSnapshot) {
					t.Fatalf("after %d steps: %+v", done, f.group.Volumes)
				}
				if back != nil && (len(back.Tags) > 0 || back.Active) {
					t.Fatalf("what was before: %+v", back)
				}
				if got := thinVolume.snapshots(f.group); len(got) == 0 || got[0].Name != aSnapshot {
					t.Fatalf("snapshots %+v", got)
				}
				return
			}
			if m.Kind != Mend {
				t.Fatalf("after %d steps: %+v", done, m)
			}
			if err := f.do(m.Argv); err != nil {
				t.Fatal(err)
			}
		}
		t.Fatalf("no end after %d steps: %+v", done, f.group.Volumes)
	})
}

func TestWishes(t *testing.T) {
	w := Wish{aSnapshot, second}
	got := wishes([]string{"masthead", w.tag(), "back:x:" + aSnapshot, "back:1", "back:1:..", "back:-1:" + aSnapshot})
	if len(got) != 1 || got[0] != w {
		t.Errorf("got %+v, want %+v", got, w)
	}
}

func TestNotBack(t *testing.T) {
	here := func(peer string) View {
		return View{Self: "head1", Record: failover.Record{Epoch: first, Owner: "head1"}, Peer: PeerView{Name: peer}}
	}
	both := connected(secondary, secondary)
	with := func(change func(*Copy)) Copy { c := both; change(&c); return c }
	tests := []struct {
		name string
		c    Copy
		view View
		want string // part of the reason
	}{
		{"both are the same", both, here("head2"), ""},
		{"in use, when it is asked for", connected(primary, secondary), here("head2"), ""},
		{"the only head", lost(both, upToDate, ""), here(""), ""},
		{"another epoch", both, View{Self: "head1", Record: failover.Record{Epoch: second, Owner: "head1"}}, "epoch"},
		{"another owner", both, View{Self: "head1", Record: failover.Record{Epoch: first, Owner: "head2"}}, "epoch"},
		{"the other one writes", connected(secondary, primary), here("head2"), "writes"},
		{"older", with(func(c *Copy) { c.Disk = outdated }), here("head2"), "not up to date"},
		{"a resync", with(func(c *Copy) { c.Replication, c.PeerDisk = "SyncSource", inconsistent }), here("head2"), "brought up to date"},
		{"a verification", with(func(c *Copy) { c.Replication = "VerifyS" }), here("head2"), "brought up to date"},
		{"alone, and the other one is older", lost(both, upToDate, outdated), here("head2"), ""},
		{"alone, and nobody knows", lost(both, upToDate, "DUnknown"), here("head2"), "nobody knows"},
	}
	for _, tt := range tests {
		got := Look{Copy: tt.c, Back: Wish{aSnapshot, first}}.notBack(tt.view)
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	l := Look{Copy: lost(both, upToDate, outdated), Note: Note{Diverged: true}, Back: Wish{aSnapshot, first}}
	if got := l.notBack(here("head2")); !strings.Contains(got, "by themselves") { // the other copy would be made anew, and lost
		t.Errorf("both wrote: got %q", got)
	}
}

func TestPool(t *testing.T) {
	tests := []struct {
		pool           Pool
		change         int64
		refuses, warns bool
	}{
		{Pool{1000, 20, 10}, 0, false, false},
		{Pool{1000, 79.9, 10}, 0, false, false},
		{Pool{1000, 80, 10}, 0, true, true},
		{Pool{1000, 20, 85}, 0, true, true},
		{Pool{1000, 95, 10}, 0, true, true},
		{Pool{1000, 50, 10}, 399, false, false},
		{Pool{1000, 50, 10}, 401, true, false},
		{Pool{1000, -1, -1}, 0, true, false},
		{Pool{}, 0, true, false},
	}
	for _, tt := range tests {
		if got := tt.pool.refuses(tt.change); (got != "") != tt.refuses {
			t.Errorf("%+v and %d: %q", tt.pool, tt.change, got)
		}
		if got := tt.pool.warns(); (got != "") != tt.warns {
			t.Errorf("%+v: %q", tt.pool, got)
		}
	}
}

func TestSpare(t *testing.T) {
	var have []Snapshot
	for i, kind := range []string{KindManual, KindRollback, KindResync, "every-1h", KindUpgrade} {
		have = append(have, Snapshot{Name: fmt.Sprint(i), Kind: kind})
	}
	var got []string
	for {
		name, ok := spare(have, func(name string) bool { return name == "3" })
		if !ok {
			break
		}
		got = append(got, name)
		have = slices.DeleteFunc(have, func(s Snapshot) bool { return s.Name == name })
	}
	if want := []string{"2", "4"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestGenerations(t *testing.T) {
	const same = "   found __DRBD_NODE__ in environment\n6BC8C51F8C9CE4B1:0000000000000000:902B72D33BA890A6:0000000000000004:1:1:1:1:0:0:0\n"
	const alone = "6BC8C51F8C9CE4B0:EA437F2F554B2C2D:902B72D33BA890A6:0000000000000004:1:1:0:0:0:1:0\n"
	tests := []struct {
		out   string
		alone bool
		want  string
	}{
		// The other copy has 6BC8C51F8C9CE4B0: by the second number it finds this one to be newer, and the fifth flag says that all is.
		{same, false, "8000000000000002:6BC8C51F8C9CE4B0:902B72D33BA890A6:0000000000000004:1:1:0:0:1:0:0"},
		{same, true, "8000000000000002:6BC8C51F8C9CE4B0:902B72D33BA890A6:0000000000000004:1:1:0:0:1:1:0"},
		// It still has EA437F2F554B2C2C.
		{alone, false, "8000000000000002:EA437F2F554B2C2D:6BC8C51F8C9CE4B0:902B72D33BA890A6:1:1:0:0:1:1:0"},
	}
	for _, tt := range tests {
		g, err := parseGenerations(tt.out)
		if err != nil {
			t.Errorf("%q: %v", tt.out, err)
			continue
		}
		if !strings.HasSuffix(tt.out, g.String()+"\n") {
			t.Errorf("%q was read as %s", tt.out, g)
		}
		if got := g.replaced(0x8000000000000003, tt.alone).String(); got != tt.want {
			t.Errorf("%q: got %s, want %s", tt.out, got, tt.want)
		}
	}
	for _, out := range []string{"", "drbd0: no such device\n", "6BC8C51F8C9CE4BX:0:0:0:1:1:0:0:0:1:0\n", "6BC8C51F8C9CE4B0:0:0\n"} {
		if g, err := parseGenerations(out); err == nil {
			t.Errorf("%q gave %s", out, g)
		}
	}
	for range 100 {
		if n := newGeneration(); n&1 != 0 || n>>63 != 1 {
			t.Fatalf("%X", n)
		}
	}
}

func FuzzGenerations(f *testing.F) {
	f.Add("6BC8C51F8C9CE4B1:0000000000000000:902B72D33BA890A6:0000000000000004:1:1:1:1:0:0:0\n")
	f.Fuzz(func(t *testing.T, out string) {
		g, err := parseGenerations(out)
		if err != nil {
			return
		}
		again, err := parseGenerations(g.String())
		if err != nil || again != g {
			t.Errorf("%s was read as %s, %v", g, again, err)
		}
	})
}
