package builder

import (
	"bytes"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"masthead/images"
	"masthead/initramfs"
	"masthead/rootfs"
)

// capturable is a head as it runs: the image that it booted from, in a store of its own, and its root.
func capturable(t *testing.T) (running images.Manifest, blobs *images.Store, tree func(leave string) *rootfs.Tree) {
	t.Helper()
	blobs, err := images.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	put := func(data []byte) images.Blob {
		t.Helper()
		b, err := blobs.PutBytes(data)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var base bytes.Buffer
	baked := []byte(`{"name":"head","role":"head","kernel_release":"6.12","early":["nbd"],"ssh_keys":["ssh-ed25519 AAAA me"]}`)
	if err := initramfs.Compress(&base, []initramfs.Entry{initramfs.Dir("etc", 0o755), initramfs.Dir("etc/masthead", 0o755), initramfs.Bytes("etc/masthead/image.json", 0o644, baked)}); err != nil {
		t.Fatal(err)
	}
	running = images.Manifest{
		Format: images.ManifestFormat, Name: "head", Role: images.RoleHead, Arch: "amd64", KernelRelease: "6.12", Cmdline: "console=ttyS0 preempt=full",
		Init: "/sbin/init", Kernel: put([]byte("vmlinuz")), Initramfs: put(base.Bytes()), Loaders: map[string]images.Blob{"undionly.kpxe": put([]byte("ipxe"))},
	}
	tree = func(leave string) *rootfs.Tree {
		tree := rootfs.New()
		for name, n := range map[string]rootfs.Node{
			"sbin/init":         rootfs.File(0o755, DefaultEpoch, []byte("init")),
			"lib/modules/6.12":  {Mode: unix.S_IFDIR | 0o755},
			"usr/bin/installed": rootfs.File(0o755, DefaultEpoch.AddDate(1, 0, 0), []byte("new")),
		} {
			if name == leave {
				continue
			}
			if err := tree.Add(name, n); err != nil {
				t.Fatal(err)
			}
		}
		return tree
	}
	return running, blobs, tree
}

func captureInto(t *testing.T, c Capture) (Built, *images.Store, error) {
	t.Helper()
	store, err := images.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(Config{Store: store, Cache: t.TempDir(), Binary: staticProgram(t)})
	if err != nil {
		t.Fatal(err)
	}
	built, err := b.Capture(t.Context(), c)
	return built, store, err
}

func TestCapture(t *testing.T) {
	running, blobs, tree := capturable(t)
	built, store, err := captureInto(t, Capture{Name: "worker", Tree: tree(""), Running: &running, Blobs: blobs})
	if err != nil {
		t.Fatal(err)
	}
	m := built.Manifest
	if m.Name != "worker" || m.Role != images.RoleWorker || m.Kernel != running.Kernel || m.KernelRelease != "6.12" || m.Cmdline != "console=ttyS0" || m.Init != "/sbin/init" || m.Loaders["undionly.kpxe"] != running.Loaders["undionly.kpxe"] {
		t.Errorf("manifest: %+v", m)
	}
	if err := m.Validate(); err != nil {
		t.Error(err)
	}
	for _, b := range m.Blobs() {
		if !store.Has(b) {
			t.Errorf("blob %s is not in the store", b.Digest.Short())
		}
	}
	ramfs, err := images.ReadBlob(store, m.Initramfs.Digest, m.Initramfs.Size)
	if err != nil {
		t.Fatal(err)
	}
	base, err := images.ReadBlob(blobs, running.Initramfs.Digest, running.Initramfs.Size)
	if err != nil {
		t.Fatal(err)
	}
	baked, err := initramfs.ReadBaked(bytes.NewReader(bytes.TrimPrefix(ramfs, base)))
	if err != nil || baked.Role != images.RoleWorker || baked.Name != "worker" || baked.KernelRelease != "6.12" || len(baked.SSHKeys) != 1 {
		t.Errorf("init is told %+v, %v", baked, err)
	}

	again, _, err := captureInto(t, Capture{Name: "worker", Tree: tree(""), Running: &running, Blobs: blobs})
	if err != nil || again.Digest != built.Digest {
		t.Errorf("the same root again: %s, %v, want %s", again.Digest.Short(), err, built.Digest.Short())
	}
	like := running
	like.Cmdline, like.Loaders = "console=tty0 quiet", nil
	other, _, err := captureInto(t, Capture{Name: "worker", Tree: tree(""), Running: &running, Like: &like, Blobs: blobs})
	if err != nil || other.Manifest.Cmdline != like.Cmdline || len(other.Manifest.Loaders) != 0 {
		t.Errorf("after another image: %+v, %v", other.Manifest, err)
	}
}

func TestCaptureRefuses(t *testing.T) {
	running, blobs, tree := capturable(t)
	minimal := running
	minimal.Init = ""
	for name, c := range map[string]Capture{
		"no init":       {Tree: tree("sbin/init"), Running: &running},
		"no modules":    {Tree: tree("lib/modules/6.12"), Running: &running},
		"minimal image": {Tree: tree(""), Running: &minimal},
	} {
		c.Name, c.Blobs = "worker", blobs
		_, _, err := captureInto(t, c)
		var try interface{ Try() string }
		if !errors.As(err, &try) || try.Try() == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
