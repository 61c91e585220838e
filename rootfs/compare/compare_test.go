package compare

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"masthead/images"
	"masthead/rootfs"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const status = `Package: openssl
Status: install ok installed
Architecture: amd64
Version: 3.5.1-1
Description: Secure Sockets Layer toolkit
 Package: not.one

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1.0

Package: libc6
Status: hold ok installed
Architecture: amd64
Version: 2.41-12
`

func TestParseStatus(t *testing.T) {
	got, err := ParseStatus(strings.NewReader(status))
	want := []Package{{"openssl", "amd64", "3.5.1-1"}, {"libc6", "amd64", "2.41-12"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
}

func FuzzParseStatus(f *testing.F) {
	f.Add(status)
	f.Add("Package\n\n:\nStatus: installed")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := ParseStatus(strings.NewReader(text))
		if err == nil && slices.ContainsFunc(all, func(p Package) bool { return p.Name == "" }) {
			t.Errorf("a package without a name in %q", text)
		}
	})
}

func TestCompareInstalled(t *testing.T) {
	from := []Package{{"b", "amd64", "1"}, {"a", "amd64", "1"}, {"a", "i386", "1"}}
	to := []Package{{"c", "all", "9"}, {"a", "amd64", "2"}, {"a", "i386", "1"}}
	want := Packages{Added: []Package{{"c", "all", "9"}}, Removed: []Package{{"b", "amd64", "1"}}, Upgraded: []Upgrade{{"a", "amd64", "1", "2"}}}
	if diff := cmp.Diff(want, CompareInstalled(from, to)); diff != "" {
		t.Error(diff)
	}
}

// image builds one of files; the store holds both that are compared.
func image(t *testing.T, store *images.Store, change func(*rootfs.Tree)) *Image {
	t.Helper()
	old := epoch.AddDate(-1, 0, 0)
	tree := rootfs.New()
	add := func(name string, n rootfs.Node) {
		t.Helper()
		if err := tree.Add(name, n); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 300 {
		add(fmt.Sprintf("usr/share/data/%03d", i), rootfs.File(0o644, old, bytes.Repeat([]byte{byte(i)}, 5000)))
	}
	add("var/lib/dpkg/status", rootfs.File(0o644, epoch, []byte(status)))
	add("etc/conf", rootfs.File(0o644, epoch, []byte("one")))
	add("etc/same", rootfs.File(0o644, epoch, []byte("same")))
	add("etc/link", rootfs.Node{Mode: unix.S_IFLNK | 0o777, ModTime: old, Target: "conf"})
	add("bin/tool", rootfs.File(0o755, old, []byte("tool")))
	if change != nil {
		change(tree)
	}
	root, err := rootfs.Build(context.Background(), tree, epoch, store, rootfs.SealOptions{})
	if err != nil {
		t.Fatal(err)
	}
	blob, err := store.PutBytes([]byte("kernel"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := store.PutManifest(images.Manifest{Format: images.ManifestFormat, Name: "worker", Role: images.RoleWorker, Arch: "amd64",
		KernelRelease: "6.1", Kernel: blob, Initramfs: blob, Init: "/sbin/init", Root: root})
	if err != nil {
		t.Fatal(err)
	}
	i, err := Open(store, d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { i.Close() })
	return i
}

func TestImages(t *testing.T) {
	store, err := images.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	from := image(t, store, nil)
	to := image(t, store, func(tree *rootfs.Tree) {
		old := epoch.AddDate(-1, 0, 0)
		for name, n := range map[string]rootfs.Node{
			"usr/bin/hello":       rootfs.File(0o755, epoch, []byte("hello")),
			"var/lib/dpkg/status": rootfs.File(0o644, epoch, []byte(strings.Replace(status, "3.5.1-1", "3.5.4-1", 1))),
			"etc/conf":            rootfs.File(0o600, epoch, []byte("two")), // of the same size and time
			"etc/link":            {Mode: unix.S_IFLNK | 0o777, ModTime: old, Target: "same"},
			"bin/tool":            {Mode: unix.S_IFREG | 0o755, ModTime: old, Size: 4, Open: rootfs.Bytes([]byte("tool")), UID: 7, Xattrs: map[string]string{"security.capability": "x"}},
		} {
			if err := tree.Add(name, n); err != nil {
				t.Fatal(err)
			}
		}
		if err := tree.Remove("usr/share/data/100"); err != nil {
			t.Fatal(err)
		}
	})
	got, err := Images(t.Context(), from, to)
	if err != nil {
		t.Fatal(err)
	}
	want := Difference{
		From: from.Digest, To: to.Digest, Boot: []Field{},
		Packages: Packages{Added: []Package{}, Removed: []Package{}, Upgraded: []Upgrade{{"openssl", "amd64", "3.5.1-1", "3.5.4-1"}}},
		Files: Files{
			Added: []string{"/usr/bin", "/usr/bin/hello"}, Removed: []string{"/usr/share/data/100"},
			Changed: []FileChange{{"/bin/tool", []string{"owner", "attributes"}}, {"/etc/conf", []string{"content", "mode"}}, {"/etc/link", []string{"target"}}, {"/var/lib/dpkg/status", []string{"content"}}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
	same, err := Images(t.Context(), to, to)
	if err != nil || !same.None() || len(same.Files.Changed)+len(same.Files.Added) > 0 {
		t.Errorf("an image and itself: %+v, %v", same, err)
	}
}

// counting counts what is read out of a store.
type counting struct {
	images.BlobReader
	opened int
}

func (c *counting) Open(d images.Digest) (io.ReadCloser, int64, error) {
	c.opened++
	return c.BlobReader.Open(d)
}

// TestImagesReadWhatDiffers compares files whose times say nothing: those in shared chunks are not read.
func TestImagesReadWhatDiffers(t *testing.T) {
	store, err := images.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	build := func(extra string) images.Digest {
		return image(t, store, func(tree *rootfs.Tree) {
			for i := range 20 {
				if err := tree.Add(fmt.Sprintf("opt/new/%02d", i), rootfs.File(0o644, epoch, bytes.Repeat([]byte{byte(i), 1, 2}, 200_000))); err != nil {
					t.Fatal(err)
				}
			}
			if err := tree.Add("zzz", rootfs.File(0o644, epoch, []byte(extra))); err != nil {
				t.Fatal(err)
			}
		}).Digest
	}
	c := &counting{BlobReader: store}
	var all []*Image
	for _, d := range []images.Digest{build("one"), build("two")} {
		i, err := Open(c, d)
		if err != nil {
			t.Fatal(err)
		}
		defer i.Close()
		all = append(all, i)
	}
	got, err := Images(t.Context(), all[0], all[1])
	if err != nil || len(got.Files.Changed) != 1 || got.Files.Changed[0].Path != "/zzz" {
		t.Fatalf("%+v, %v", got.Files, err)
	}
	if chunks := len(all[0].Manifest.Root.Chunks); c.opened > chunks {
		t.Errorf("%d blobs were read to compare two roots of %d chunks that share most", c.opened, chunks)
	}
}
