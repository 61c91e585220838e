package node

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"masthead/images"
	"masthead/node/agent"
	"masthead/vmtest/prerequisite"
)

func TestNeedsKernel(t *testing.T) {
	blob := func(text string) images.Blob { return images.Blob{Digest: images.DigestOf([]byte(text))} }
	now := images.Manifest{Kernel: blob("vmlinuz"), Initramfs: blob("initramfs"), Cmdline: "quiet", Init: "/sbin/init"}
	for want, change := range map[string]func(*images.Manifest){
		"":                                 func(m *images.Manifest) { m.Name, m.Loaders = "worker-2", nil },
		"the image has no init of its own": func(m *images.Manifest) { m.Init = "" },
		"the image has another kernel":     func(m *images.Manifest) { m.Kernel = blob("another") },
		"the image has another initramfs":  func(m *images.Manifest) { m.Initramfs = blob("another") },
		"the image has another kernel command line": func(m *images.Manifest) { m.Cmdline = "quiet hugepages=4" },
	} {
		next := now
		change(&next)
		if got := needsKernel(now, next); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestNoRoom(t *testing.T) {
	const mb = 1 << 20
	for _, tt := range []struct {
		mode              images.RootMode
		stored, mem, free int64
		fits              bool
	}{
		{images.RootLazy, 100 * mb, 512 * mb, 96 * mb, true}, // a cache of 32 MiB
		{images.RootLazy, 100 * mb, 512 * mb, 95 * mb, false},
		{images.RootLazy, 10 * mb, 512 * mb, 74 * mb, true},
		{images.RootRAM, 1000 * mb, 4096 * mb, 1064 * mb, true},
		{images.RootRAM, 1000 * mb, 4096 * mb, 1063 * mb, false},
	} {
		if got := noRoom(tt.mode, tt.stored, tt.mem, tt.free); (got == "") != tt.fits {
			t.Errorf("%+v: %q", tt, got)
		}
	}
}

func TestSoftIsForNodesOfSystemd(t *testing.T) {
	if systemd() {
		t.Skip("PID 1 here is systemd")
	}
	if _, err := PrepareSoft(t.Context(), agent.Config{}, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a soft reboot was prepared where PID 1 is not systemd")
	}
	if err := Restart(t.Context(), Soft); err == nil {
		t.Error("a soft reboot was begun where PID 1 is not systemd")
	}
}

// spotIn is a spot in a folder.
func spotIn(t *testing.T, dir string) spot {
	t.Helper()
	at := spot{filepath.Join(dir, "root"), filepath.Join(dir, "lower"), filepath.Join(dir, "overlay"),
		filepath.Join(dir, "sock"), filepath.Join(dir, "manifest"), filepath.Join(dir, "node"), filepath.Join(dir, "stages")}
	for _, dir := range []string{at.root, at.lower, at.overlay} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return at
}

// TestArrive puts what belongs to the next root where that of every root is, broken off in the middle and once more.
func TestArrive(t *testing.T) {
	prerequisite.Root(t)
	from, to := spotIn(t, t.TempDir()), spotIn(t, t.TempDir())
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, at := range []spot{from, to} {
		for _, dir := range []string{at.lower, at.overlay} {
			if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				for unix.Unmount(dir, unix.MNT_DETACH) == nil {
				}
			})
		}
		write(filepath.Join(at.lower, "whose"), filepath.Dir(at.root))
		for _, file := range []string{at.manifest, at.node, at.stages, at.control} {
			write(file, filepath.Dir(at.root))
		}
	}
	// It was broken off with the second mount and some of the files moved.
	if err := os.Rename(from.control, to.control); err != nil {
		t.Fatal(err)
	}
	if err := leaveMount(to.lower); err != nil {
		t.Fatal(err)
	}
	if err := leaveMount(to.overlay); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(from.overlay, to.overlay, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	if err := leaveMount(from.overlay); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(from.manifest, to.manifest); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := arrive(t.Context(), from, to, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{filepath.Join(to.lower, "whose"), to.manifest, to.node, to.stages, to.control} {
		if got, err := os.ReadFile(file); err != nil || string(got) != filepath.Dir(from.root) {
			t.Errorf("%s is of %s, want %s: %v", file, got, filepath.Dir(from.root), err)
		}
	}
	if isMount(from.lower) || isMount(from.overlay) || !isMount(to.lower) || !isMount(to.overlay) {
		t.Error("what the root is made of is mounted in the wrong place")
	}
}
