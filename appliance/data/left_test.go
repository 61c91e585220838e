package data

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"masthead/appliance/failover"
)

func TestLeave(t *testing.T) {
	for _, tt := range []struct {
		name    string
		look    Look
		mounted bool
		want    Step
	}{
		{"follows", Look{Copy: connected(secondary, secondary)}, false, Down},
		{"follows one that is written to", Look{Copy: connected(secondary, primary)}, false, Wait},
		{"has lost one that was written to", Look{Copy: lost(connected(secondary, primary), upToDate, "DUnknown")}, false, Down},
		{"is mounted", Look{Copy: connected(secondary, secondary)}, true, Wait},
		{"is written to", Look{Copy: connected(primary, secondary)}, false, Wait},
		{"is written to, and its service stops", Look{Copy: connected(primary, secondary), Want: WantSecondary}, false, Demote},
		{"DRBD has not said what it is", Look{Copy: Copy{There: true}}, false, Wait},
	} {
		if got, why := tt.look.Leave(tt.mounted); got != tt.want {
			t.Errorf("%s: %s, %q, want %s", tt.name, got, why, tt.want)
		}
	}
}

// leftBench is a Set of which the configuration has these volumes, after one that had others.
func leftBench(t *testing.T, had, has []Volume, copy Copy, exists ...string) *bench {
	t.Helper()
	b := &bench{drbd: &fakeDRBD{lines: make(chan string, 100), copy: copy}, loaded: make(chan string, 10), began: time.Now()}
	dir := t.TempDir()
	before := &Set{cfg: Config{Resources: Resources{Volumes: had}, Dir: dir}}
	if err := before.writeGiven(); err != nil {
		t.Fatal(err)
	}
	r := pair()
	r.Volumes = has
	b.begin(t, r, dir, exists...)
	b.see(nil)
	return b
}

var leftVolume = []Volume{{Name: "data", Device: "/dev/vdb", Folders: []string{"/srv"}}}

// The kernel lets go of a volume that the configuration has no more and that nobody uses, and it is forgotten.
func TestLeftIsLetGo(t *testing.T) {
	b := leftBench(t, leftVolume, nil, connected(secondary, secondary), isResource, strings.Replace(isThere, "Primary", "Secondary", 1), isDevice, isPeer, "exists -")
	b.until(t, "let go", func() bool { return len(b.left) == 0 })
	if got, want := b.drbd.commands(), []string{"drbdsetup down data"}; !slices.Equal(got, want) {
		t.Errorf("commands %q, want %q", got, want)
	}
	if left, err := Left(b.cfg.Dir, nil); len(left) > 0 || err != nil {
		t.Errorf("the next daemon would look for %+v, %v", left, err)
	}
}

// One that is in use stays, also under another daemon, until its service has stopped; that knows its mounts.
func TestLeftInUse(t *testing.T) {
	owns := strings.Replace(isResource, "Secondary", "Primary", 1)
	b := leftBench(t, leftVolume, nil, connected(primary, secondary), owns, isThere, isDevice, isPeer, "exists -")
	b.until(t, "known", func() bool { return strings.Contains(b.left[0].why, "written to still") })
	if is, err := b.Primary("data"); !is || err != nil {
		t.Errorf("primary: %v, %v", is, err)
	}
	if m := b.Mounts("data"); len(m) != 2 || m[0].Device != "/dev/drbd0" || m[1].Path != "/srv" {
		t.Errorf("mounts %+v", m)
	}
	if err := b.Promote(t.Context(), "data"); !errors.Is(err, ErrNoVolume) {
		t.Errorf("a promotion: %v", err)
	}
	if got := b.drbd.commands(); len(got) > 0 {
		t.Errorf("commands %q before it was stopped", got)
	}
	if err := b.Demote(t.Context(), "data"); err != nil {
		t.Fatal(err)
	}
	b.until(t, "let go", func() bool { return len(b.left) == 0 })
	if got, want := b.drbd.commands(), []string{"secondary data", "drbdsetup down data"}; !slices.Equal(got, want) {
		t.Errorf("commands %q, want %q", got, want)
	}
	if there(filepath.Join(b.cfg.Dir, "data.left.conf")) {
		t.Error("its configuration file is still there")
	}
}

// What cannot be stopped is not said to be.
func TestLeftIsHeld(t *testing.T) {
	owns := strings.Replace(isResource, "Secondary", "Primary", 1)
	b := leftBench(t, leftVolume, nil, connected(primary, secondary), owns, isThere, isDevice, isPeer)
	b.drbd.held = errors.New("Device is held open by someone") // nobody has asked yet
	b.drbd.lines <- "exists -"
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := b.Demote(ctx, "data"); err == nil || !strings.Contains(err.Error(), "held open") {
		t.Errorf("a demotion that failed gave %v", err)
	}
	if left, err := Left(b.cfg.Dir, nil); len(left) != 1 || err != nil {
		t.Errorf("the next daemon would look for %+v, %v", left, err)
	}
}

// A volume that never came up has nothing to stop, and neither has one that nobody knows.
func TestLeftNeverUp(t *testing.T) {
	b := leftBench(t, leftVolume, nil, Copy{}, "exists -")
	if err := b.Demote(t.Context(), "data"); err != nil {
		t.Error(err)
	}
	b.until(t, "forgotten", func() bool { return len(b.left) == 0 })
	for _, name := range []string{"data", "other"} {
		if err := b.Demote(t.Context(), name); err != nil {
			t.Error(err)
		}
		if is, err := b.Primary(name); is || err != nil {
			t.Errorf("%s: primary %v, %v", name, is, err)
		}
	}
	if got := b.drbd.commands(); len(got) > 0 {
		t.Errorf("commands %q", got)
	}
}

// Where DRBD says nothing, as without drbd-utils, a copy is stopped when the kernel has no device of it, and only then.
func TestDemoteWithoutWord(t *testing.T) {
	for name, has := range map[string][]Volume{"configured": leftVolume, "left": nil} {
		for _, up := range []bool{false, true} {
			b := leftBench(t, leftVolume, has, Copy{There: up})
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if err := b.Demote(ctx, "data"); (err == nil) == up {
				t.Errorf("%s, the kernel has it %v: %v", name, up, err)
			}
		}
	}
}

// Another volume with the number of one that is left waits until that is gone, and one whose number belongs to a resource that is
// not ours says so; neither leaves half a resource.
func TestNumberIsTaken(t *testing.T) {
	owns := strings.Replace(isResource, "Secondary", "Primary", 1)
	b := leftBench(t, leftVolume, []Volume{{Name: "db", Device: "/dev/vdc"}}, connected(primary, secondary), owns, isThere, isDevice, isPeer, "exists -")
	b.until(t, "waits", func() bool { return strings.Contains(b.volumes[0].why, "still has the volume data") })
	if got := b.drbd.commands(); len(got) > 0 {
		t.Errorf("commands %q", got)
	}

	b = newBench(t, "exists resource name:theirs role:Secondary suspended:no", "exists device name:theirs volume:0 minor:0 disk:UpToDate")
	b.see(nil)
	b.until(t, "says so", func() bool { return b.volumes[0].trouble != "" })
	want := "/dev/drbd0 belongs to the DRBD resource theirs, which the configuration does not have: on head1: drbdsetup status theirs; " +
		"if nobody uses it, drbdsetup down theirs; or another `number:` for data"
	if got := b.volumes[0].trouble; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := b.drbd.commands(); slices.Contains(got, "up data") {
		t.Errorf("commands %q", got)
	}
}

// A volume that comes back under another number is left under the one that the kernel has, and comes up after that is gone.
func TestLeftByNumber(t *testing.T) {
	owns := strings.Replace(isResource, "Secondary", "Primary", 1)
	again := []Volume{{Name: "data", Number: 3, Device: "/dev/vdb", Folders: []string{"/srv"}}}
	b := leftBench(t, leftVolume, again, connected(primary, secondary), owns, isThere, isDevice, isPeer, "exists -")
	b.drbd.gi = "AB00000000000001"
	b.until(t, "waits", func() bool { return strings.Contains(b.volumes[0].why, "still has the volume data") })
	if m := b.Mounts("data"); m[0].Device != "/dev/drbd0" {
		t.Errorf("mounts %+v", m)
	}
	if is, err := b.Primary("data"); !is || err != nil {
		t.Errorf("primary: %v, %v", is, err)
	}
	if err := b.Demote(t.Context(), "data"); err != nil {
		t.Fatal(err)
	}
	b.until(t, "up again", func() bool { return len(b.left) == 0 && b.look().Copy.There })
	if got, want := b.drbd.commands(), []string{"secondary data", "drbdsetup down data", "up data"}; !slices.Equal(got, want) {
		t.Errorf("commands %q, want %q", got, want)
	}
}

// The last writes of a volume that left the configuration in use may wait for the word like those of the others.
func TestLeftIsFrozen(t *testing.T) {
	owns := strings.Replace(isResource, "Secondary suspended:no", "Primary suspended:fencing", 1)
	b := leftBench(t, leftVolume, nil, lost(connected(primary, secondary), upToDate, "DUnknown"), owns, isDevice,
		"exists connection name:data connection:Connecting role:Unknown", "exists peer-device name:data volume:0 replication:Off peer-disk:DUnknown", "exists -")
	b.until(t, "known", func() bool { return b.left[0].look.Copy.Role == primary })
	answer := make(chan int, 1)
	go func() {
		code, _, _ := b.Ask(t.Context(), "minor-0")
		answer <- code
	}()
	b.until(t, "asked", func() bool { return b.left[0].look.Lost > 0 })
	at := b.Standing(b.view)
	if at.Data != failover.DataAlone || !at.Frozen || at.Connected || at.Lost == 0 {
		t.Errorf("the data stand %+v", at)
	}
	b.see(func(v *View) { v.Word = failover.Word{Go: true, How: "fenced"} })
	if code := <-answer; code != ExitFenced {
		t.Errorf("the word gave %d", code)
	}
}

// What the kernel tells of a number is told of the volume that it has there, not of the one that waits for it.
func TestNumberOfTheKernel(t *testing.T) {
	b := leftBench(t, leftVolume, []Volume{{Name: "db", Device: "/dev/vdc"}}, connected(secondary, primary), isResource, isThere, isDevice, isPeer, "exists -")
	b.until(t, "waits", func() bool { return strings.Contains(b.volumes[0].why, "still has the volume data") })
	if err := b.Tell(t.Context(), "split-brain", "minor-0"); err != nil {
		t.Error(err)
	}
	if b.look().Note.Diverged {
		t.Error("the volume that waits is said to have diverged")
	}
}

// A file that cannot be read is no proof that the kernel has nothing.
func TestLeftUnreadable(t *testing.T) {
	dir := t.TempDir()
	if left, err := Left(dir, nil); left != nil || err != nil {
		t.Errorf("nothing was given: %v, %v", left, err)
	}
	if err := os.WriteFile(filepath.Join(dir, givenFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Left(dir, nil); err == nil {
		t.Error("half a file was read")
	}
}
