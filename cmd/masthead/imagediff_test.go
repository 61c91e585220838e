package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/images"
	"masthead/rootfs"
	"masthead/rootfs/compare"
)

// putImage stores an image of files under a tag.
func putImage(t *testing.T, store *images.Store, tag string, files map[string]string) images.Digest {
	t.Helper()
	epoch := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	tree := rootfs.New()
	for name, text := range files {
		if err := tree.Add(name, rootfs.File(0o644, epoch, []byte(text))); err != nil {
			t.Fatal(err)
		}
	}
	root, err := rootfs.Build(t.Context(), tree, epoch, store, rootfs.SealOptions{})
	if err != nil {
		t.Fatal(err)
	}
	blob, err := store.PutBytes([]byte("kernel"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := store.PutManifest(images.Manifest{Format: images.ManifestFormat, Name: tag, Role: images.RoleWorker, Arch: "amd64",
		KernelRelease: "6.12", Kernel: blob, Initramfs: blob, Init: "/sbin/init", Root: root})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Tag(tag, d); err != nil {
		t.Fatal(err)
	}
	return d
}

func withPackages(packages ...string) string {
	var b strings.Builder
	for _, p := range packages {
		name, version, _ := strings.Cut(p, " ")
		b.WriteString("Package: " + name + "\nStatus: install ok installed\nArchitecture: amd64\nVersion: " + version + "\n\n")
	}
	return b.String()
}

func TestImageDiff(t *testing.T) {
	dir := t.TempDir()
	store, err := images.OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	const status = "var/lib/dpkg/status"
	old := putImage(t, store, "worker", map[string]string{status: withPackages("curl 8.1", "less 668"), "etc/conf": "a", "usr/bin/less": "less"})
	now := putImage(t, store, "worker", map[string]string{status: withPackages("curl 8.2", "hwloc 2.12"), "etc/conf": "b", "usr/bin/lstopo": "lstopo"})
	diff := func(args ...string) (string, error) {
		var out, errw bytes.Buffer
		err := run(t.Context(), append([]string{"image", "diff", "--store", dir}, args...), strings.NewReader(""), &out, &errw)
		return out.String(), err
	}
	want := old.Short() + " -> " + now.Short() + `
  packages: 1 added, 1 removed, 1 with another version
    + hwloc 2.12
    - less 668
    ~ curl 8.1 -> 8.2
  files: 1 added, 1 removed, 2 changed
    + /usr/bin/lstopo
    - /usr/bin/less
    ~ /etc/conf (content)
    ~ /var/lib/dpkg/status (content)
`
	for _, args := range [][]string{{"worker@1", "worker"}, {string(old), string(now)}, {old.Hex(), "worker@0"}} {
		got, err := diff(args...)
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%v: %v (-want +got):\n%s", args, err, d)
		}
	}
	got, err := diff("worker@1", "worker", "-o", "json")
	var d compare.Difference
	if e := json.Unmarshal([]byte(got), &d); err != nil || e != nil || d.From != old || d.To != now || len(d.Packages.Upgraded) != 1 || len(d.Files.Changed) != 2 {
		t.Errorf("%v %v\n%s", err, e, got)
	}
	if got, err := diff("worker", "worker"); err != nil || !strings.Contains(got, "the same image") {
		t.Errorf("%v\n%s", err, got)
	}
	for _, bad := range []string{"none", "worker@2", "worker@-1", "worker@x", "worker@"} {
		_, err := diff(bad, "worker")
		var try interface{ Try() string }
		if err == nil || !errors.As(err, &try) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestWithoutSelf(t *testing.T) {
	text := "127.0.0.1\tlocalhost\n127.0.1.1\thead1.lab head1\n10.0.0.9 printer\n127.0.1.1 other\n"
	if got, want := withoutSelf(text, "head1"), "127.0.0.1\tlocalhost\n10.0.0.9 printer\n127.0.1.1 other\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
