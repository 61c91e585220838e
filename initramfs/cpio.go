package initramfs

import (
	"fmt"
	"io"

	"github.com/cavaliergopher/cpio"
	"golang.org/x/sys/unix"
)

// Write writes one uncompressed newc archive. Entries are sorted by path; times are zero and inode numbers count from
// one, so that the same entries give the same bytes.
func Write(w io.Writer, entries []Entry) error {
	sorted, err := arrange(entries)
	if err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	nw := &nodeWriter{w: w}
	cw := cpio.NewWriter(nw)
	buf := make([]byte, 256<<10)
	for _, e := range sorted {
		if err := writeEntry(cw, nw, e, buf); err != nil {
			return fmt.Errorf("initramfs: %s: %w", e.Path, err)
		}
	}
	if err := cw.Close(); err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	return nil
}

func writeEntry(cw *cpio.Writer, nw *nodeWriter, e Entry, buf []byte) error {
	h := &cpio.Header{Name: e.Path, Mode: cpio.FileMode(e.Mode), Uid: int(e.UID), Guid: int(e.GID), Links: 1, Size: e.Size}
	switch e.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		h.Size = int64(len(e.Target)) // a link's target is its contents
	case unix.S_IFREG:
	default:
		h.Size = 0
	}
	if t := e.Mode & unix.S_IFMT; t == unix.S_IFCHR || t == unix.S_IFBLK {
		nw.rdev = e.Rdev
	}
	if err := cw.WriteHeader(h); err != nil {
		return err
	}
	switch {
	case e.Mode&unix.S_IFMT == unix.S_IFLNK:
		_, err := io.WriteString(cw, e.Target)
		return err
	case h.Size == 0:
		return nil
	}
	r, err := e.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	n, err := io.CopyBuffer(struct{ io.Writer }{cw}, io.LimitReader(r, h.Size+1), buf)
	if err != nil && n >= h.Size || n > h.Size {
		return fmt.Errorf("longer than its size of %d bytes", h.Size)
	}
	if err != nil {
		return err
	}
	if n < h.Size {
		return fmt.Errorf("%d bytes, its size is %d", n, h.Size)
	}
	return nil
}

// nodeWriter puts device numbers into the headers that cpio.Writer writes: it leaves them 0,0. Its header is one Write of
// 110 bytes, with the major number at 78 and the minor at 86, eight hexadecimal digits each.
type nodeWriter struct {
	w    io.Writer
	rdev uint64 // for the next header, 0 for none
}

const (
	headerSize = 110
	rdevOffset = 78
)

func (n *nodeWriter) Write(p []byte) (int, error) {
	if n.rdev == 0 || len(p) != headerSize {
		return n.w.Write(p)
	}
	patched := append([]byte(nil), p...)
	copy(patched[rdevOffset:], fmt.Sprintf("%08X%08X", unix.Major(n.rdev), unix.Minor(n.rdev)))
	n.rdev = 0
	return n.w.Write(patched)
}
