package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"masthead/appliance/install"
	"masthead/images"
	"masthead/images/disk"
	"masthead/node/wire"
)

func TestUpgradeOrder(t *testing.T) {
	head := func(name string, f func(*wire.HeadStatus)) wire.HeadStatus {
		h := wire.HeadStatus{Name: name, Alive: true, Equal: true, HeadRecord: wire.HeadRecord{Software: wire.Software{Slot: "a"}}}
		if f != nil {
			f(&h)
		}
		return h
	}
	self := func(h *wire.HeadStatus) { h.Self = true }
	for _, tt := range []struct {
		name  string
		heads []wire.HeadStatus
		owner string
		want  []string
		err   string
	}{
		{"two", []wire.HeadStatus{head("h1", self), head("h2", nil)}, "h1", []string{"h2"}, ""},
		{"three", []wire.HeadStatus{head("h3", nil), head("h1", self), head("h2", nil)}, "h1", []string{"h2", "h3"}, ""},
		{"alone", []wire.HeadStatus{head("h1", self)}, "", nil, ""},
		{"typed on a standby", []wire.HeadStatus{head("h1", nil), head("h2", self)}, "h1", nil, "h1 owns the cluster, and is upgraded last"},
		{"one is off", []wire.HeadStatus{head("h1", self), head("h2", func(h *wire.HeadStatus) { h.Alive = false })}, "h1", nil, "head h2 does not answer"},
		{"one differs", []wire.HeadStatus{head("h1", self), head("h2", func(h *wire.HeadStatus) { h.Equal = false })}, "h1", nil, "the state of head h2 is not the same yet"},
		{"one runs from its ISO", []wire.HeadStatus{head("h1", self), head("h2", func(h *wire.HeadStatus) { h.Software.Slot = "" })}, "h1", nil, "head h2 does not run from an installed disk"},
	} {
		got, _, err := upgradeOrder(tt.heads, tt.owner)
		if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: got error %v, want %q", tt.name, err, tt.err)
		}
		if d := cmp.Diff(tt.want, got); err == nil && d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
}

// One that stopped half way is typed again, and goes on with the heads that do not run the image yet.
func TestUpgradeAllGoesOn(t *testing.T) {
	image := images.DigestOf([]byte("new"))
	head := func(name string, image images.Digest) wire.HeadStatus {
		return wire.HeadStatus{Name: name, HeadRecord: wire.HeadRecord{Software: wire.Software{Image: string(image)}}}
	}
	old := images.DigestOf([]byte("old"))
	for _, tt := range []struct {
		name  string
		heads []wire.HeadStatus
		force bool
		want  string
	}{
		{"none has it", []wire.HeadStatus{head("h1", old), head("h3", old), head("h2", old)}, false, "h2; then h3; then h2 owns; then h1"},
		{"one has it", []wire.HeadStatus{head("h1", old), head("h2", image), head("h3", old)}, false, "h3; then h2 owns; then h1"},
		{"this one is left", []wire.HeadStatus{head("h1", old), head("h2", image), head("h3", image)}, false, "h2 owns; then h1"},
		{"another one is left", []wire.HeadStatus{head("h1", image), head("h2", image), head("h3", old)}, false, "h3"},
		{"all have it", []wire.HeadStatus{head("h1", image), head("h2", image), head("h3", image)}, false, ""},
		{"all have it, by force", []wire.HeadStatus{head("h1", image), head("h2", image), head("h3", image)}, true, "h2; then h3; then h2 owns; then h1"},
		{"alone", []wire.HeadStatus{head("h1", old)}, false, "h1"},
	} {
		left, here := stillToUpgrade(tt.heads, []string{"h2", "h3"}[:len(tt.heads)-1], "h1", image, tt.force)
		if got := allSteps(left, here, heir(tt.heads, "h1"), "h1"); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	if got := allSteps([]string{"h2", "h3"}, true, "", "h1"); got != "h2; then h3; then h1" {
		t.Errorf("without restarts: got %q", got)
	}
}

// A snapshot is made of what can be gone back to: of each volume once, where it is written to.
func TestWithSnapshots(t *testing.T) {
	volume := func(name, head, role, filesystem string) wire.DataVolume {
		return wire.DataVolume{Name: name, Head: head, Role: role, Filesystem: filesystem}
	}
	got := withSnapshots([]wire.DataVolume{
		volume("data", "h1", "Secondary", "btrfs"), volume("data", "h2", "Primary", "btrfs"), volume("logs", "h2", "Primary", "ext4"),
		volume("new", "h1", "Secondary", "btrfs"), volume("new", "h2", "Secondary", "btrfs"), volume("more", "h2", "Primary", "btrfs"),
		{Name: "thin", Head: "h2", Role: "Primary", Filesystem: "ext4", SnapshotsBy: "lvm"},
	})
	if d := cmp.Diff([]string{"data", "more", "thin"}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestUpgraded(t *testing.T) {
	image := images.DigestOf([]byte("new"))
	for _, tt := range []struct {
		name       string
		row        slotRow
		done, good bool
	}{
		{"written", slotRow{Image: image, State: "is tried at the next start"}, false, false},
		{"on trial", slotRow{Image: image, State: "runs, on trial"}, false, false},
		{"good", slotRow{Image: image, State: "runs, starts"}, true, true},
		{"fell back", slotRow{Image: image, State: "was tried and fell back"}, true, false},
		{"fell back, and was told", slotRow{Image: image, Note: "did not come up healthy: x"}, true, false},
		{"another image", slotRow{Image: images.DigestOf(nil), State: "runs, starts"}, false, false},
	} {
		done, err := upgraded([]slotRow{tt.row}, image)
		if done != tt.done || (err == nil) != tt.good {
			t.Errorf("%s: done %v, %v", tt.name, done, err)
		}
	}
}

func TestSlotState(t *testing.T) {
	for _, tt := range []struct {
		slot disk.Slot
		env  disk.Env
		want string
	}{
		{"a", disk.Env{Slot: "a"}, "runs, starts"},
		{"b", disk.Env{Slot: "a"}, ""},
		{"b", disk.Env{Slot: "a", Try: "b"}, "is tried at the next start"},
		{"b", disk.Env{Slot: "a", Tried: "b"}, "was tried and fell back"},
		{"a", disk.Env{Slot: "b", Tried: "a"}, "runs, on trial"},
	} {
		if got := slotState(tt.slot, "a", tt.env); got != tt.want {
			t.Errorf("slot %s, %+v: got %q, want %q", tt.slot, tt.env, got, tt.want)
		}
	}
}

func TestDifferences(t *testing.T) {
	head := func(name, kernel, image, slot string) wire.HeadStatus {
		return wire.HeadStatus{Name: name, HeadRecord: wire.HeadRecord{Software: wire.Software{Program: "1", Kernel: kernel, Image: image, Slot: slot}}}
	}
	got := wire.Differences([]wire.HeadStatus{head("h1", "6.1", "sha256:aaaa", "a"), head("h2", "6.12", "sha256:aaaa", "b"), head("h3", "6.1", "", "")})
	if d := cmp.Diff([]string{"kernel: 6.1 on h1, h3; 6.12 on h2"}, got); d != "" {
		t.Errorf("differences (-want +got):\n%s", d)
	}
	if got := wire.Differences([]wire.HeadStatus{head("h1", "6.1", "x", "a")}); got != nil {
		t.Errorf("one head differs from itself: %v", got)
	}
}

func TestSoftware(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"usr/lib/os-release": "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n", "proc/sys/kernel/osrelease": "6.12\n",
		"proc/cmdline": "quiet masthead.slot=b\n", "sys/module/drbd/version": "8.4.11\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got := software(root, filepath.Join(root, "proc"), filepath.Join(root, "sys"))
	want := wire.Software{OS: "Debian GNU/Linux 13 (trixie)", Kernel: "6.12", Slot: "b", Data: "drbd 8.4.11"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("software (-want +got):\n%s", d)
	}
}

func TestMediumDevice(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mountinfo")
	text := "20 1 0:5 / /run rw - tmpfs tmpfs rw\n31 20 11:0 / /run/masthead/medium ro,nosuid shared:3 - iso9660 /dev/sr0 ro\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := install.MediumDevice(file); got != "/dev/sr0" || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := install.MediumDevice(file); err == nil {
		t.Error("a machine without a medium")
	}
}
