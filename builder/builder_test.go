package builder

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"golang.org/x/sys/unix"

	"masthead/images"
	"masthead/rootfs"
	"masthead/rootfs/kernel/kerneltest"
	"masthead/vmtest/prerequisite"
)

// staticProgram builds a program that could be an init.
func staticProgram(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{"go.mod": "module x\n", "main.go": "package main\n\nfunc main() {}\n"}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", "init", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return filepath.Join(dir, "init")
}

func digestOfFile(t *testing.T, name string) images.Digest {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, io.LimitReader(f, 200<<20)); err != nil { // a disk is blank from there on
		t.Fatal(err)
	}
	return images.DigestFromSum(sum.Sum(nil))
}

// buildAll builds a netboot set, an ISO and a disk image of the same minimal image in a store of its own, and gives the digests of
// all files by name.
func buildAll(t *testing.T, binary string) map[string]images.Digest {
	t.Helper()
	def, err := images.LoadDefinition("../images/worker-minimal.yaml")
	if err != nil {
		t.Fatal(err)
	}
	store, err := images.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(Config{Store: store, Cache: kerneltest.Cache(t), Binary: binary, Tools: []string{"sh", "ls"}})
	if err != nil {
		t.Fatal(err)
	}
	built, err := b.Image(t.Context(), def)
	if err != nil {
		prerequisite.Missing(t, "what a build takes: %v", err)
	}
	dir := t.TempDir()
	files, err := b.Netboot(t.Context(), built, dir)
	if err != nil {
		t.Fatal(err)
	}
	iso := filepath.Join(dir, "worker.iso")
	if _, err := b.ISO(t.Context(), def, built, map[string]images.Digest{"spare": built.Digest}, iso); err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(dir, "worker.img")
	if _, err := b.Disk(t.Context(), def, built, nil, 0, disk); err != nil {
		t.Fatal(err)
	}
	all := map[string]images.Digest{"image": built.Digest}
	for _, f := range append(files, iso, disk) {
		all[filepath.Base(f)] = digestOfFile(t, f)
	}
	again, err := b.Image(t.Context(), def)
	if err != nil || !again.Reused || again.Digest != built.Digest {
		t.Errorf("an unchanged image was built again: %+v, %v", again.Digest, err)
	}
	return all
}

func TestSameInputSameBytes(t *testing.T) {
	binary := staticProgram(t)
	first := buildAll(t, binary)
	if len(first) != 12 { // the image, vmlinuz, initramfs, manifest, pack, five loaders, the ISO, the disk
		t.Errorf("%d artifacts: %v", len(first), first)
	}
	t.Setenv("TZ", "Pacific/Kiritimati")
	if d := cmp.Diff(first, buildAll(t, binary)); d != "" {
		t.Errorf("a second build differs (-first +second):\n%s", d)
	}
}

func TestDynamicBinaryIsRefused(t *testing.T) {
	_, err := openBinary("/bin/bash")
	var hint interface{ Try() string }
	if err == nil || !errors.As(err, &hint) || !strings.Contains(hint.Try(), "make build") {
		t.Errorf("a dynamically linked init: %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	_, err := New(Config{})
	for _, want := range []string{"no image store", "no cache folder", "no masthead binary"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not mention %q", err, want)
		}
	}
}

func TestMinimalTree(t *testing.T) {
	tree, err := minimalTree([]string{"ls", "sh"}, time.Unix(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	links := map[string]string{"sbin/init": images.RunInit, "bin/sh": images.RunBinary, "bin/ls": images.RunBinary, "bin/masthead": images.RunBinary}
	for path, want := range links {
		n, err := tree.Lookup(path)
		if err != nil || n.Target != want {
			t.Errorf("%s: %v, %v; want a link to %s", path, n, err, want)
		}
	}
}

func TestCheckInit(t *testing.T) {
	tree := rootfs.New()
	defer tree.Close()
	add := func(path string, n rootfs.Node) {
		if err := tree.Add(path, n); err != nil {
			t.Fatal(err)
		}
	}
	add("usr/lib/systemd/systemd", rootfs.Node{Mode: unix.S_IFREG | 0o755})
	add("usr/lib/data", rootfs.Node{Mode: unix.S_IFREG | 0o644})
	add("sbin/init", rootfs.Node{Mode: unix.S_IFLNK | 0o777, Target: "/usr/lib/systemd/systemd"})
	for path, ok := range map[string]bool{"/sbin/init": true, "": true, "/bin/init": false, "/usr/lib/data": false, "/usr/lib": false} {
		if err := checkInit(tree, &images.Definition{Init: path}); (err == nil) != ok {
			t.Errorf("init %q: %v", path, err)
		}
	}
}

func TestMarkUpdated(t *testing.T) {
	epoch := time.Unix(1000, 0)
	for _, dirs := range [][]string{{"usr/lib/systemd", "etc", "var"}, {"usr/lib"}} {
		tree := rootfs.New()
		defer tree.Close()
		for _, d := range dirs {
			if err := tree.Add(d, rootfs.Node{Mode: unix.S_IFDIR | 0o755}); err != nil {
				t.Fatal(err)
			}
		}
		if err := markUpdated(tree, epoch); err != nil {
			t.Fatal(err)
		}
		n, err := tree.Lookup("etc/.updated")
		if systemd := len(dirs) == 3; (err == nil) != systemd || (systemd && !n.ModTime.Equal(epoch)) {
			t.Errorf("root with %v: %+v, %v", dirs, n, err)
		}
	}
}

func TestCancelledWriteLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	file := filepath.Join(t.TempDir(), "out")
	if err := writeStream(ctx, file, strings.NewReader("half")); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	if left, _ := os.ReadDir(filepath.Dir(file)); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}
