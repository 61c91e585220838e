package tarball

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"

	"masthead/rootfs"
)

const block = 512 // bytes; everything in a tar archive begins at a multiple of it

// root adds the entries of the plain archive to tree, in their order. An archive without its end mark is torn.
func root(ctx context.Context, tree *rootfs.Tree, archive io.ReaderAt, size int64) error {
	marked, err := scan(ctx, archive, size, func(e entry) error { return e.add(tree) })
	if err == nil && !marked {
		err = fmt.Errorf("torn: it stops at byte %d without an end mark", size)
	}
	return err
}

// layer adds the entries of the plain archive to tree as a layer. Layers have digests, so a missing end mark, which some
// builders leave out, is how it was made.
func layer(ctx context.Context, tree *rootfs.Tree, archive io.ReaderAt, size int64) error {
	// A whiteout hides what the layers below have, never what its own layer has, and it may come after it.
	_, err := scan(ctx, archive, size, func(e entry) error {
		_, err := tree.Whiteout(strings.TrimSuffix(e.Name, "/"))
		return err
	})
	if err != nil {
		return err
	}
	_, err = scan(ctx, archive, size, func(e entry) error {
		if rootfs.IsWhiteout(e.Name) {
			return nil
		}
		return e.add(tree)
	})
	return err
}

// entry is a header of an archive, and where its content is.
type entry struct {
	*tar.Header
	archive io.ReaderAt
	size    int64 // of the archive
	data    int64 // offset of the content as it is stored
	// A sparse file is stored as its data and a map of it, which archive/tar reads but does not tell. Its content is
	// read by going through the archive again, from an offset where a header is known to begin to the skip-th after it.
	from int64
	skip int
}

// scan calls visit for each entry in the plain archive of size bytes, and reports whether the archive has an end mark, a
// block of zeros after the last entry.
func scan(ctx context.Context, archive io.ReaderAt, size int64, visit func(entry) error) (marked bool, err error) {
	sr := io.NewSectionReader(archive, 0, size)
	tr := tar.NewReader(sr)
	last := "its start"
	from, skip := int64(0), 0
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		h, err := tr.Next()
		pos, _ := sr.Seek(0, io.SeekCurrent) // a section does not fail to say where it is
		if err == io.EOF {
			if skip > 0 { // where the sparse file ends is not known; its last block may be one of zeros
				return endsInZeros(archive, pos), nil
			}
			return pos > from, nil
		}
		if err != nil {
			return false, fmt.Errorf("after %s: %w", last, torn(err))
		}
		last = fmt.Sprintf("%q", h.Name)
		stored := h.Size
		if h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeCont {
			stored = 0 // some writers give the size of the target in the header of a hard link
		}
		e := entry{Header: h, archive: archive, size: size, data: pos, from: from, skip: skip}
		if h.Typeflag != tar.TypeXGlobalHeader { // comments, such as git archive's
			if err := visit(e); err != nil {
				return false, err
			}
		}
		if e.sparse() {
			skip++
			continue
		}
		if stored > size-pos {
			return false, fmt.Errorf("%q: torn: %d bytes of content, %d left in the archive", h.Name, stored, size-pos)
		}
		from, skip = (pos+stored+block-1)/block*block, 0
	}
}

func endsInZeros(archive io.ReaderAt, end int64) bool {
	last := make([]byte, block)
	_, err := archive.ReadAt(last, max(0, end-block))
	return (err == nil || err == io.EOF) && strings.Trim(string(last), "\x00") == ""
}

// torn says in plain words what archive/tar means by an unexpected end.
func torn(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("torn: %w", err)
	}
	return err
}

func (e entry) sparse() bool {
	if e.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range e.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// xattrRecord is how star, GNU tar, libarchive and Docker put an extended attribute in a PAX header.
const xattrRecord = "SCHILY.xattr."

func (e entry) add(tree *rootfs.Tree) error {
	n := rootfs.Node{
		Mode:    uint32(e.Mode) & 0o7777,
		UID:     uint32(e.Uid),
		GID:     uint32(e.Gid),
		ModTime: e.ModTime,
	}
	if int64(e.Uid) != int64(n.UID) || int64(e.Gid) != int64(n.GID) {
		return fmt.Errorf("%q: owner %d:%d does not fit 32 bits", e.Name, e.Uid, e.Gid)
	}
	for key, value := range e.PAXRecords {
		if name, ok := strings.CutPrefix(key, xattrRecord); ok {
			if n.Xattrs == nil {
				n.Xattrs = map[string]string{}
			}
			n.Xattrs[name] = value
		}
	}
	switch e.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		n.Mode |= unix.S_IFREG
		n.Size = e.Size
		n.Open = e.open
	case tar.TypeDir:
		n.Mode |= unix.S_IFDIR
	case tar.TypeSymlink:
		n.Mode |= unix.S_IFLNK
		n.Target = e.Linkname
	case tar.TypeChar, tar.TypeBlock:
		if e.Devmajor < 0 || e.Devminor < 0 || e.Devmajor >= 1<<12 || e.Devminor >= 1<<20 {
			return fmt.Errorf("%q: device %d,%d: want at most 4095,1048575", e.Name, e.Devmajor, e.Devminor)
		}
		n.Mode |= unix.S_IFCHR
		if e.Typeflag == tar.TypeBlock {
			n.Mode = n.Mode&^unix.S_IFMT | unix.S_IFBLK
		}
		n.Rdev = unix.Mkdev(uint32(e.Devmajor), uint32(e.Devminor))
	case tar.TypeFifo:
		n.Mode |= unix.S_IFIFO
	case tar.TypeLink:
		return tree.Link(e.Linkname, e.Name)
	default:
		return fmt.Errorf("%q: unknown type %q", e.Name, e.Typeflag)
	}
	return tree.Add(e.Name, n)
}

// open gives the content.
func (e entry) open() (io.ReadCloser, error) {
	if !e.sparse() {
		return io.NopCloser(io.NewSectionReader(e.archive, e.data, e.Size)), nil
	}
	tr := tar.NewReader(io.NewSectionReader(e.archive, e.from, e.size-e.from))
	for range e.skip + 1 {
		if _, err := tr.Next(); err != nil {
			return nil, torn(err)
		}
	}
	return io.NopCloser(tr), nil
}
