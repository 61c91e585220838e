package iso

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/diskfs/go-diskfs"
	"github.com/diskfs/go-diskfs/disk"
	"github.com/diskfs/go-diskfs/filesystem"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"
	"golang.org/x/sys/unix"
)

// BenchmarkWrite writes an image with a pack of 300 MB from disk to disk;
// cp and go-diskfs do the same work for comparison.
func BenchmarkWrite(b *testing.B) {
	const size = 300 << 20
	dir := b.TempDir()
	pack := filepath.Join(dir, "pack")
	if err := os.WriteFile(pack, contents("pack", size), 0o644); err != nil {
		b.Fatal(err)
	}
	unix.Sync() // or the first run waits for the pack to reach the disk
	b.Run("iso", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			img := sample()
			img.Files[0] = File{Path: "masthead/pack", Size: size, Open: func() (io.ReadCloser, error) { return os.Open(pack) }}
			w, err := os.Create(filepath.Join(dir, "iso"))
			if err != nil {
				b.Fatal(err)
			}
			if _, err := Write(context.Background(), w, img); err != nil {
				b.Fatal(err)
			}
			if err := w.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("through memory", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			img := sample()
			img.Files[0] = File{Path: "masthead/pack", Size: size, Open: func() (io.ReadCloser, error) { return os.Open(pack) }}
			w, err := os.Create(filepath.Join(dir, "iso"))
			if err != nil {
				b.Fatal(err)
			}
			if _, err := Write(context.Background(), io.MultiWriter(w), img); err != nil {
				b.Fatal(err)
			}
			if err := w.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("cp", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			if err := exec.Command("cp", "--reflink=never", pack, filepath.Join(dir, "copy")).Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("go-diskfs", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			diskfsISO(b, filepath.Join(dir, "diskfs.iso"), pack, size)
		}
	})
}

// diskfsISO writes one file with go-diskfs's ISO 9660 writer.
func diskfsISO(b *testing.B, path, pack string, size int64) {
	b.Helper()
	if err := os.RemoveAll(path); err != nil {
		b.Fatal(err)
	}
	d, err := diskfs.Create(path, size+16<<20, diskfs.SectorSizeDefault)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	d.LogicalBlocksize = sectorSize
	fs, err := d.CreateFilesystem(disk.FilesystemSpec{FSType: filesystem.TypeISO9660, VolumeLabel: "MASTHEAD"})
	if err != nil {
		b.Fatal(err)
	}
	if err := fs.Mkdir("/masthead"); err != nil {
		b.Fatal(err)
	}
	w, err := fs.OpenFile("/masthead/pack", os.O_CREATE|os.O_RDWR)
	if err != nil {
		b.Fatal(err)
	}
	r, err := os.Open(pack)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	if _, err := io.Copy(w, r); err != nil {
		b.Fatal(err)
	}
	if err := fs.(*iso9660.FileSystem).Finalize(iso9660.FinalizeOptions{RockRidge: true, VolumeIdentifier: "MASTHEAD"}); err != nil {
		b.Fatal(err)
	}
}
