package rootfs

import (
	"bytes"
	"errors"
	"io"
	"os"
)

// imageFile is what go-erofs writes an image to. The image is cut into chunks as it comes. Chunks of nothing but file
// contents are final and go to emit, if there is one; all others, which hold metadata that hardlink.go may still change,
// go to the file at their place. Chunks of zeros become holes.
type imageFile struct {
	f    *os.File
	emit func(i int, chunk []byte) (next []byte, err error) // gives a buffer of the same size in return

	buf      []byte // of one chunk
	n        int    // bytes in buf
	index    int    // of the chunk in buf
	metadata bool   // there is some in buf
	late     []int  // chunks in f
	size     int64
	read     []byte // what a file's content was last read into
	closing  bool   // the image is complete, and the superblock follows
}

// newImageFile writes to f, in chunks as large as buf.
func newImageFile(f *os.File, buf []byte, emit func(int, []byte) ([]byte, error)) *imageFile {
	return &imageFile{f: f, buf: buf, emit: emit}
}

// contentRead says that p has just been filled with a file's content. go-erofs hands the same memory to Write if the
// content gets blocks of its own, and copies it elsewhere if it goes among the metadata.
func (w *imageFile) contentRead(p []byte) { w.read = p }

func (w *imageFile) isContent(p []byte) bool {
	return len(p) > 0 && len(w.read) == len(p) && &w.read[0] == &p[0]
}

func (w *imageFile) Write(p []byte) (int, error) {
	if w.closing {
		return w.f.WriteAt(p, 0)
	}
	// Padding is zeros, and nobody's.
	metadata := !w.isContent(p) && !allZero(p)
	w.read = nil
	done := 0
	for done < len(p) {
		n := copy(w.buf[w.n:], p[done:])
		w.n, done = w.n+n, done+n
		w.metadata = w.metadata || metadata
		if w.n == len(w.buf) {
			if err := w.flush(); err != nil {
				return done, err
			}
		}
	}
	return done, nil
}

// flush lets the chunk in buf go.
func (w *imageFile) flush() (err error) {
	data := w.buf[:w.n]
	if len(data) == 0 {
		return nil
	}
	off := w.size
	w.size += int64(len(data))
	switch {
	// The first chunk gets the superblock in the end; the last may be short.
	case w.emit != nil && !w.metadata && w.index > 0 && len(data) == len(w.buf):
		if w.buf, err = w.emit(w.index, data); err != nil {
			return err
		}
	case allZero(data):
		w.late = append(w.late, w.index)
		err = w.f.Truncate(w.size) // a hole that can be read
	default:
		w.late = append(w.late, w.index)
		_, err = w.f.WriteAt(data, off)
	}
	w.n, w.metadata = 0, false
	w.index++
	return err
}

// Seek implements io.Seeker as far as go-erofs needs it: when all is written, back to the start, for the superblock.
func (w *imageFile) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence != io.SeekStart {
		return 0, errors.ErrUnsupported
	}
	w.closing = true
	return 0, w.flush()
}

var zeros [4096]byte

func allZero(p []byte) bool {
	for len(p) > 0 {
		n := min(len(p), len(zeros))
		if !bytes.Equal(p[:n], zeros[:n]) {
			return false
		}
		p = p[n:]
	}
	return true
}
