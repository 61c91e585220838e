package rootfs

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"
)

// WriteEROFS writes tree to f, from its start, as an uncompressed EROFS image, and returns the image's size in bytes, a
// multiple of 4096. The same tree and epoch give the same bytes. Modification times after epoch are set to epoch, which
// is also the build time of the file system. Hard links are kept, holes in f stand for blocks of zeros, and a content
// that is shorter than the Size of its node is an error that names it.
func WriteEROFS(ctx context.Context, f *os.File, tree *Tree, epoch time.Time) (int64, error) {
	l, err := plan(tree, epoch, DefaultChunkSize)
	if err != nil {
		return 0, fmt.Errorf("write EROFS: %w", err)
	}
	var at int64
	w := &cutter{ctx: ctx, size: DefaultChunkSize, buf: make([]byte, 2*DefaultChunkSize), emit: func(data []byte, n int64) ([]byte, error) {
		var err error
		if data != nil && !allZero(data) {
			_, err = f.WriteAt(data, at)
		}
		at += n
		return data, err
	}}
	if err := w.image(l); err != nil {
		return 0, fmt.Errorf("write EROFS: %w", err)
	}
	if err := f.Truncate(l.size); err != nil {
		return 0, fmt.Errorf("write EROFS: %w", err)
	}
	return l.size, nil
}

// cutter makes the image of a layout and cuts it into chunks: of size bytes, and half as much more at most for the last
// of a group. Chunks begin where groups do, and gaps are chunks of their own.
type cutter struct {
	ctx  context.Context
	size int64
	buf  []byte // of the chunk that is being filled; at least twice size
	// emit is given the image in order: a chunk in buf, for which it returns another buffer, or, with nil, n bytes of
	// zeros.
	emit func(data []byte, n int64) (next []byte, err error)

	at   int64 // bytes of the image before buf
	n    int64 // bytes in buf
	left int64 // bytes of the group that are not in buf yet
}

func (w *cutter) image(l *layout) error {
	for _, g := range append([]group{{bytes: blockSize}}, l.groups...) { // the superblock changes each time
		if err := w.gap(g.start - w.at); err != nil {
			return err
		}
		w.left = g.bytes
		if g.inodes == nil {
			if err := w.fill(l.meta[g.start:g.start+g.bytes], g.bytes); err != nil {
				return err
			}
			continue
		}
		for _, i := range g.inodes {
			if err := w.content(i); err != nil {
				return err
			}
		}
	}
	return nil
}

// limit is the size of the chunk that is being filled.
func (w *cutter) limit() int64 {
	if rest := w.n + w.left; rest <= w.size+w.size/2 {
		return rest
	}
	return w.size
}

// space gives the part of the chunk that is free, which is never empty before the group's end, and added says that n
// bytes of it were filled.
func (w *cutter) space() []byte { return w.buf[w.n:w.limit()] }

func (w *cutter) added(n int64) (err error) {
	full := w.n+n == w.limit()
	w.n, w.left = w.n+n, w.left-n
	if full {
		w.at += w.n
		w.buf, err = w.emit(w.buf[:w.n], w.n)
		w.buf, w.n = w.buf[:cap(w.buf)], 0
	}
	return err
}

// fill adds n bytes: those of p, and zeros.
func (w *cutter) fill(p []byte, n int64) error {
	for n > 0 {
		s := w.space()
		s = s[:min(int64(len(s)), n)]
		k := copy(s, p)
		clear(s[k:])
		p, n = p[k:], n-int64(len(s))
		if err := w.added(int64(len(s))); err != nil {
			return err
		}
	}
	return nil
}

// gap adds n bytes of zeros between two groups.
func (w *cutter) gap(n int64) error {
	for n > 0 {
		k := min(n, 2*w.size)
		if _, err := w.emit(nil, k); err != nil {
			return err
		}
		w.at, n = w.at+k, n-k
	}
	return nil
}

// content adds the data of an inode, up to the end of a block.
func (w *cutter) content(i *inode) error {
	padded := roundUp(i.size, blockSize)
	switch {
	case i.node.IsDir():
		return w.fill(i.dirents(), padded)
	case i.node.IsSymlink():
		return w.fill([]byte(i.node.Target), padded)
	}
	r, err := i.node.Open()
	if err == nil {
		defer r.Close()
		err = w.read(r, i.size)
	}
	if err != nil {
		return fmt.Errorf("read %q: %w", i.path, err)
	}
	return w.fill(nil, padded-i.size)
}

// read adds n bytes of r.
func (w *cutter) read(r io.Reader, n int64) error {
	for left := n; left > 0; {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		s := w.space()
		s = s[:min(int64(len(s)), left)]
		k, err := io.ReadFull(r, s)
		left -= int64(k)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return fmt.Errorf("%d bytes are missing of %d: %w", left, n, io.ErrUnexpectedEOF)
		}
		if err != nil {
			return err
		}
		if err := w.added(int64(k)); err != nil {
			return err
		}
	}
	return nil
}
