package uki

import (
	"fmt"
	"io"
)

// Open returns the image as a stream of exactly Size bytes. Each section's
// source is opened when it is reached and closed when it is read; one that has
// more or fewer bytes than planned is an error.
func (l Layout) Open() (io.ReadCloser, error) {
	return &stream{layout: l, rest: l.head}, nil
}

// stream reads the image front to back: stub, then for each section padding and
// contents, then the last padding.
type stream struct {
	layout Layout
	pos    int64         // bytes delivered
	rest   []byte        // what is left of the stub
	next   int           // section to open next
	src    io.ReadCloser // section being read, or nil
	left   int64         // bytes of it still to come
}

func (s *stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := s.read(p)
	s.pos += int64(n)
	return n, err
}

func (s *stream) read(p []byte) (int, error) {
	switch {
	case len(s.rest) > 0:
		n := copy(p, s.rest)
		s.rest = s.rest[n:]
		return n, nil
	case s.src != nil:
		return s.readSection(p)
	case s.next < len(s.layout.Sections) && s.pos == s.layout.Sections[s.next].Offset:
		src, err := s.layout.sources[s.next].Open()
		if err != nil {
			return 0, fmt.Errorf("open section %s: %w", s.layout.Sections[s.next].Name, err)
		}
		s.src, s.left = src, s.layout.Sections[s.next].Size
		s.next++
		return s.readSection(p)
	}
	end := s.layout.Size
	if s.next < len(s.layout.Sections) {
		end = s.layout.Sections[s.next].Offset
	}
	if s.pos == end {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), end-s.pos))
	clear(p[:n])
	return n, nil
}

func (s *stream) readSection(p []byte) (int, error) {
	section := s.layout.Sections[s.next-1]
	if int64(len(p)) > s.left {
		p = p[:s.left]
	}
	n, err := s.src.Read(p)
	s.left -= int64(n)
	switch {
	case s.left == 0:
		return n, s.endSection(section)
	case err == io.EOF:
		return n, fmt.Errorf("section %s ended after %d bytes, want %d: %w", section.Name, section.Size-s.left, section.Size, io.ErrUnexpectedEOF)
	case err != nil:
		return n, fmt.Errorf("read section %s: %w", section.Name, err)
	}
	return n, nil
}

// endSection checks that the source ends where it was planned to.
func (s *stream) endSection(section Section) error {
	n, err := io.ReadFull(s.src, make([]byte, 1))
	if n > 0 {
		return fmt.Errorf("section %s has more than %d bytes", section.Name, section.Size)
	}
	if err != io.EOF {
		return fmt.Errorf("read section %s: %w", section.Name, err)
	}
	err = s.Close()
	if err != nil {
		return fmt.Errorf("close section %s: %w", section.Name, err)
	}
	return nil
}

// Close releases the source being read.
func (s *stream) Close() error {
	if s.src == nil {
		return nil
	}
	err := s.src.Close()
	s.src = nil
	return err
}
