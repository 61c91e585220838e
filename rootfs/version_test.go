package rootfs_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"masthead/images"
	"masthead/rootfs"
)

// release makes one version of a tree of 3,600 files that do not compress: many small, some large.
func release(t testing.TB) *rootfs.Tree {
	t.Helper()
	tree := rootfs.New()
	for d := range 60 {
		for f := range 60 {
			seed := uint64(d*60 + f)
			size := 200 + seed*seed*7919%24_000
			if f == 30 && d%6 == 0 {
				size = 2<<20 + 1000*seed
			}
			add(t, tree, fmt.Sprintf("dir%02d/file%02d", d, f), random(seed, size))
		}
	}
	return tree
}

func random(seed, size uint64) []byte {
	data := make([]byte, size)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 1})
	r.Read(data)
	return data
}

func add(t testing.TB, tree *rootfs.Tree, path string, data []byte) {
	t.Helper()
	if err := tree.Add(path, rootfs.File(0o644, epoch.AddDate(-1, 0, 0), data)); err != nil {
		t.Fatal(err)
	}
}

func content(t testing.TB, tree *rootfs.Tree, path string) []byte {
	t.Helper()
	n, err := tree.Lookup(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := n.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestNewVersionMovesWhatChanged builds a tree and a changed one into the same kind of store: the chunks that the second
// has and the first has not are few, wherever the change is. Cut into chunks of one size, the same images differ in most
// of theirs.
func TestNewVersionMovesWhatChanged(t *testing.T) {
	build := func(tree *rootfs.Tree) images.Root {
		root, err := rootfs.Build(context.Background(), tree, epoch, openStore(t), rootfs.SealOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return root
	}
	old := build(release(t))
	have := map[images.Digest]bool{}
	for _, c := range old.Chunks {
		have[c.Digest] = true
	}
	for _, tt := range []struct {
		name   string
		change func(*rootfs.Tree)
		chunks int   // that are new, at most
		bytes  int64 // of them, at most
	}{
		{"nothing", func(*rootfs.Tree) {}, 0, 0},
		{"a small file grows by 4 KB", func(tree *rootfs.Tree) {
			data := content(t, tree, "dir29/file31")
			add(t, tree, "dir29/file31", slices.Insert(data, len(data)/2, random(7, 4000)...))
		}, 4, 450 << 10},
		{"a large file grows by 4 KB at its end", func(tree *rootfs.Tree) {
			add(t, tree, "dir30/file30", append(content(t, tree, "dir30/file30"), random(7, 4000)...))
		}, 4, 450 << 10},
		{"a byte changes in the first file", func(tree *rootfs.Tree) {
			data := content(t, tree, "dir00/file00")
			data[0]++
			add(t, tree, "dir00/file00", data)
		}, 1, 400 << 10},
		{"a file is new", func(tree *rootfs.Tree) { add(t, tree, "dir10/file10a", random(7, 3000)) }, 10, 600 << 10},
		{"a large file is new", func(tree *rootfs.Tree) { add(t, tree, "dir10/file10a", random(7, 1<<20)) }, 24, 1800 << 10},
		{"a file goes", func(tree *rootfs.Tree) {
			if err := tree.Remove("dir10/file10"); err != nil {
				t.Fatal(err)
			}
		}, 10, 600 << 10},
		{"a mode changes", func(tree *rootfs.Tree) {
			if err := tree.Add("dir10/file10", rootfs.Node{Mode: unix.S_IFREG | 0o600, ModTime: epoch, Size: 100, Open: rootfs.Bytes(make([]byte, 100))}); err != nil {
				t.Fatal(err)
			}
		}, 4, 450 << 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tree := release(t)
			tt.change(tree)
			fresh := images.Root{}
			for _, c := range build(tree).Chunks {
				if !have[c.Digest] {
					fresh.Chunks = append(fresh.Chunks, c)
				}
			}
			t.Logf("%d new chunks, %d bytes of %d", len(fresh.Chunks), fresh.Stored(), old.Stored())
			if len(fresh.Chunks) > tt.chunks || fresh.Stored() > tt.bytes {
				t.Errorf("%d new chunks of %d bytes, want at most %d of %d", len(fresh.Chunks), fresh.Stored(), tt.chunks, tt.bytes)
			}
		})
	}
}

// TestImageIsAsEver pins the bytes of an image: a change of the layout makes every root move once, and needs another
// builderFormat in package builder.
func TestImageIsAsEver(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/image")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tree := forest(t)
	if err := tree.Add("many/000", rootfs.Node{Mode: unix.S_IFREG | unix.S_ISUID | 0o755, UID: 70000, ModTime: epoch, Xattrs: map[string]string{"user.a": "b"}}); err != nil {
		t.Fatal(err)
	}
	size, err := rootfs.WriteEROFS(context.Background(), f, tree, epoch)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(f, 0, size)); err != nil {
		t.Fatal(err)
	}
	const want = "6197248 c09c5b005b6c42bf"
	if got := fmt.Sprintf("%d %x", size, sum.Sum(nil)[:8]); got != want {
		t.Errorf("image is %s, want %s", got, want)
	}
}
