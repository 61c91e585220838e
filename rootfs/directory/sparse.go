package directory

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// sparseFile reads a file with holes without having the kernel fill pages with their zeros.
type sparseFile struct {
	f         *os.File
	off, size int64
	dataEnd   int64 // of the data that off is in; off itself if it is in a hole or nothing is known
	holeEnd   int64
}

func (s *sparseFile) Read(p []byte) (int, error) {
	if s.off >= s.size {
		return 0, io.EOF
	}
	if s.off >= s.dataEnd && s.off >= s.holeEnd {
		if err := s.find(); err != nil {
			return 0, err
		}
	}
	if s.off < s.holeEnd {
		p = p[:min(int64(len(p)), s.holeEnd-s.off)]
		clear(p)
		s.off += int64(len(p))
		return len(p), nil
	}
	n, err := s.f.ReadAt(p[:min(int64(len(p)), s.dataEnd-s.off)], s.off)
	s.off += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

// find learns whether off is in data or in a hole, and where that ends (lseek(2), SEEK_DATA and SEEK_HOLE).
func (s *sparseFile) find() error {
	data, err := s.f.Seek(s.off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO): // a hole to the end
		s.holeEnd = s.size
		return nil
	case errors.Is(err, unix.EINVAL): // a file system that knows no holes
		s.dataEnd = s.size
		return nil
	case err != nil:
		return err
	case data > s.off:
		s.holeEnd = min(data, s.size)
		return nil
	}
	end, err := s.f.Seek(s.off, unix.SEEK_HOLE)
	if err != nil {
		return err
	}
	s.dataEnd = min(end, s.size)
	return nil
}

func (s *sparseFile) Close() error { return s.f.Close() }
