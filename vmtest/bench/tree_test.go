package bench

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"

	"masthead/images"
	"masthead/vmtest/prerequisite"
)

// envRoot names the file that TestWorkerArchive writes.
const envRoot = "MASTHEAD_BENCH_ROOT"

// TestWorkerArchive leaves the worker's root, about 300 MB, as a tar for BenchmarkSeal of package rootfs.
func TestWorkerArchive(t *testing.T) {
	file := os.Getenv(envRoot)
	if file == "" {
		t.Skipf("leaves an archive of a Debian root where %s says", envRoot)
	}
	bin := program(t)
	prerequisite.Root(t)
	prerequisite.Programs(t, "fsck.erofs", "tar")
	dir := t.TempDir()
	run(t, bin, "image", "build", definition(t, "worker"), "--store", filepath.Join(dir, "store"))
	store, m := workerImage(t, filepath.Join(dir, "store"))
	tree := filepath.Join(dir, "tree")
	unpack(t, store, m.Root, tree)
	run(t, "tar", "-C", tree, "--numeric-owner", "-cf", file, ".")
}

// unpack writes the files of a sealed root into a new folder. fsck.erofs 1.5 loses set-user-id bits on the way, which
// no boot needs.
func unpack(b testing.TB, store *images.Store, root images.Root, folder string) {
	b.Helper()
	image := folder + ".erofs"
	f, err := os.Create(image)
	if err != nil {
		b.Fatal(err)
	}
	defer os.Remove(image)
	if err := errors.Join(decode(f, store, root), f.Close()); err != nil {
		b.Fatal(err)
	}
	run(b, "fsck.erofs", "--extract="+folder, image)
}

// decode writes the file system image of a sealed root.
func decode(w io.WriterAt, store *images.Store, root images.Root) error {
	dec, err := zstd.NewReader(nil)
	if err != nil {
		return err
	}
	defer dec.Close()
	from := root.Offsets()
	for i, c := range root.Chunks {
		content := make([]byte, root.ChunkLen(i))
		if !c.Zero() {
			stored, err := images.ReadBlob(store, c.Digest, images.MaxChunkSize)
			if err != nil {
				return err
			}
			if content, err = dec.DecodeAll(stored, content[:0]); err != nil {
				return err
			}
		}
		if _, err := w.WriteAt(content, from[i]); err != nil {
			return err
		}
	}
	return nil
}
