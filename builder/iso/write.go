package iso

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// chunk is how much is copied between two looks at the context.
const chunk = 1 << 20

// Write writes the planned image to w, front to back, exactly Size bytes.
func (l *Layout) Write(ctx context.Context, w io.Writer) error {
	c := copier{ctx: ctx, w: w, buf: make([]byte, chunk)}
	for _, s := range l.segments {
		if err := c.zeros(s.offset - c.pos); err != nil {
			return fmt.Errorf("write ISO image: %w", err)
		}
		if err := c.segment(s); err != nil {
			return fmt.Errorf("write ISO image: %s: %w", s.what, err)
		}
	}
	if err := c.zeros(l.Size - c.pos); err != nil {
		return fmt.Errorf("write ISO image: %w", err)
	}
	return nil
}

// copier keeps count of what went out.
type copier struct {
	ctx context.Context
	w   io.Writer
	buf []byte
	pos int64
}

func (c *copier) segment(s segment) error {
	if s.open == nil {
		return c.write(s.data)
	}
	r, err := s.open()
	if err != nil {
		return err
	}
	return errors.Join(c.copy(r, s.size), r.Close())
}

func (c *copier) write(b []byte) error {
	n, err := c.w.Write(b)
	c.pos += int64(n)
	return err
}

// zeros fills up to the next segment.
func (c *copier) zeros(n int64) error {
	if n < 0 {
		return fmt.Errorf("layout overlaps itself by %d bytes at %d", -n, c.pos)
	}
	clear(c.buf[:min(n, chunk)])
	for n > 0 {
		b := c.buf[:min(n, chunk)]
		if err := c.write(b); err != nil {
			return err
		}
		n -= int64(len(b))
	}
	return nil
}

// copy copies exactly size bytes; a source that has fewer or more has changed
// since it was planned.
func (c *copier) copy(r io.Reader, size int64) error {
	for left := size; left > 0; {
		if err := context.Cause(c.ctx); err != nil {
			return err
		}
		n, err := c.piece(r, min(left, chunk))
		c.pos += n
		left -= n
		if err == io.EOF {
			return fmt.Errorf("ended after %d bytes, want %d: %w", size-left, size, io.ErrUnexpectedEOF)
		}
		if err != nil {
			return err
		}
	}
	n, err := io.ReadFull(r, c.buf[:1])
	if n > 0 {
		return fmt.Errorf("has more than %d bytes", size)
	}
	if err != io.EOF {
		return err
	}
	return nil
}

// piece copies n bytes, or fewer and io.EOF at the end of r. Between two files
// the kernel does it, without the bytes passing through here
// (copy_file_range(2)).
func (c *copier) piece(r io.Reader, n int64) (int64, error) {
	if to, ok := c.w.(*os.File); ok {
		if from, ok := r.(*os.File); ok {
			return io.CopyN(to, from, n)
		}
	}
	got, readErr := io.ReadFull(r, c.buf[:n])
	if readErr == io.ErrUnexpectedEOF { // ReadFull's own, not one from r's depths
		readErr = io.EOF
	}
	put, err := c.w.Write(c.buf[:got])
	if err != nil {
		return int64(put), err
	}
	return int64(put), readErr
}
