package compare

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	goerofs "github.com/erofs/go-erofs"

	"masthead/images"
	"masthead/rootfs"
)

// Image is an image that can be compared with another.
type Image struct {
	Digest   images.Digest
	Manifest images.Manifest

	reader *rootfs.Reader
	from   images.Offsets
	fsys   fs.FS
	built  time.Time // nothing in it is newer
}

// Open reads the manifest of an image and opens its root. The caller closes it.
func Open(blobs images.BlobReader, d images.Digest) (*Image, error) {
	m, err := images.ReadManifest(blobs, d)
	if err != nil {
		return nil, fmt.Errorf("open image %s: %w", d.Short(), err)
	}
	r, err := rootfs.Open(m.Root, blobs)
	if err != nil {
		return nil, fmt.Errorf("open image %s: %w", d.Short(), err)
	}
	i := &Image{Digest: d, Manifest: m, reader: r, from: m.Root.Offsets()}
	if i.fsys, err = goerofs.Open(r); err == nil {
		i.built, err = builtAt(r)
	}
	if err != nil {
		return nil, fmt.Errorf("open image %s: %w", d.Short(), errors.Join(err, r.Close()))
	}
	return i, nil
}

// Installed are the packages in the root.
func (i *Image) Installed() ([]Package, error) { return Installed(i.fsys) }

// Close frees what reading took.
func (i *Image) Close() error { return i.reader.Close() }

// The build time in the superblock (kernel, fs/erofs/erofs_fs.h: epoch).
const builtOffset = 1024 + 24

func builtAt(r io.ReaderAt) (time.Time, error) {
	var seconds [8]byte
	if _, err := r.ReadAt(seconds[:], builtOffset); err != nil {
		return time.Time{}, err
	}
	return time.Unix(int64(binary.LittleEndian.Uint64(seconds[:])), 0), nil
}

// file is one name in a root.
type file struct {
	mode   fs.FileMode
	mtime  time.Time
	stat   *goerofs.Stat
	ranges []goerofs.DataRange
}

// list gives every name in the root with its file. The root directory is not among them.
func (i *Image) list() (map[string]file, error) {
	all := map[string]file{}
	err := fs.WalkDir(i.fsys, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name == "." {
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		f := file{mode: info.Mode(), mtime: info.ModTime()}
		f.stat, _ = info.Sys().(*goerofs.Stat)
		if f.stat == nil {
			return fmt.Errorf("%s: nothing is known of it", name)
		}
		if r, ok := info.(interface{ DataRange() []goerofs.DataRange }); ok {
			f.ranges = r.DataRange()
		}
		all[name] = f
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the files of %s: %w", i.Digest.Short(), err)
	}
	return all, nil
}

// piece is a part of a file's content: bytes of a chunk from an offset on.
type piece struct {
	chunk        images.Digest
	offset, size int64
}

// pieces says by digests what a file's content is: two files with the same pieces have the same content.
func (i *Image) pieces(f file) []piece {
	var all []piece
	for _, r := range f.ranges {
		for at, end := r.Offset, r.Offset+r.Size; at < end; {
			if r.Offset < 0 {
				return nil // a hole, which our images do not have
			}
			c := i.from.Chunk(at)
			n := min(end, i.from[c+1]) - at
			all = append(all, piece{i.Manifest.Root.Chunks[c].Digest, at - i.from[c], n})
			at += n
		}
	}
	return all
}
