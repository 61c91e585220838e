package directory

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"masthead/rootfs"
	"masthead/rootfs/roottest"
	"masthead/vmtest/prerequisite"
)

// That a whole root comes out right is held by TestKernelSeesTheTree of package rootfs.

func TestRead(t *testing.T) {
	dir := t.TempDir()
	for _, err := range []error{
		os.Mkdir(filepath.Join(dir, "d"), 0o750),
		os.WriteFile(filepath.Join(dir, "d/f"), []byte("content"), 0o640),
		os.Link(filepath.Join(dir, "d/f"), filepath.Join(dir, "a")),
		os.Symlink("d/f", filepath.Join(dir, "s")),
		unix.Mkfifo(filepath.Join(dir, "p"), 0o600),
		unix.Setxattr(filepath.Join(dir, "d"), "user.x", []byte("y"), 0),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	tree, err := Read(context.Background(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	want := roottest.Directory(t, dir)
	for p, e := range want {
		if strings.HasPrefix(e.Mode, "004") {
			e.Size = 0
			want[p] = e
		}
	}
	if diff := cmp.Diff(want, roottest.Tree(t, tree)); diff != "" {
		t.Errorf("directory (-), tree (+):\n%s", diff)
	}
}

func TestSparseFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sparse")
	for name, size := range map[string]int64{"data first": 3 << 20, "hole last": 1<<20 + 4097, "only a hole": 300_000} {
		t.Run(name, func(t *testing.T) {
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			if name != "only a hole" {
				for _, off := range []int64{0, 900_000} {
					if _, err := f.WriteAt([]byte("some data"), off); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			r, err := open(path, true)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			got, err := io.ReadAll(iotest.OneByteReader(io.LimitReader(r, 10)))
			if err != nil {
				t.Fatal(err)
			}
			rest, err := io.ReadAll(r)
			if got = append(got, rest...); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes, %v, want %d", len(got), err, len(want))
			}
		})
	}
}

func TestOneFileSystem(t *testing.T) {
	prerequisite.Root(t)
	dir := t.TempDir()
	point := filepath.Join(dir, "mnt")
	if err := os.Mkdir(point, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", point, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(point, 0)
	if err := os.WriteFile(filepath.Join(point, "inside"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, one := range []bool{false, true} {
		tree, err := Read(context.Background(), dir, Options{OneFileSystem: one})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tree.Lookup("mnt/inside"); errors.Is(err, fs.ErrNotExist) != one {
			t.Errorf("one file system %v: mnt/inside: %v", one, err)
		}
	}
}

func TestErrors(t *testing.T) {
	if _, err := Read(context.Background(), filepath.Join(t.TempDir(), "none"), Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, make([]byte, 100_000), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(context.Background(), file, Options{}); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("a file: %v", err)
	}
	// A file that becomes shorter between Read and the build must not end in a wrong image.
	tree, err := Read(context.Background(), filepath.Dir(file), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 10); err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := rootfs.WriteEROFS(context.Background(), out, tree, time.Now()); !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), `"file"`) {
		t.Errorf("a file that became shorter: %v", err)
	}
}
