package fetch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// spool is a blob that is coming. Any number of readers follow it, each at its own pace, from its beginning. The last
// byte is held back until the whole was verified: nobody ever gets all of a blob that is wrong.
//
// A peer that fails is followed by another one, which writes from the beginning again. Readers go on where they were,
// unless they have been given something that the next peer does not confirm.
type spool struct {
	size int64
	mem  []byte   // or
	file *os.File // without a name

	mu     sync.Mutex
	more   sync.Cond
	high   int64 // bytes that were ever written
	at     int64 // bytes that the present peer has written
	given  int64 // the most that a reader has been given
	broken error // readers were given what is not in the blob
	whole  bool
	err    error // it does not come
}

// inMemory is the largest blob that is kept in memory while it comes: every chunk is smaller. What is larger, such as
// an initramfs, goes through a file.
const inMemory = 16 << 20

var errChanged = errors.New("two heads gave different bytes for one blob")

// newSpool makes a spool for size bytes.
func newSpool(dir string, size int64) (*spool, error) {
	s := &spool{size: size}
	s.more.L = &s.mu
	if size <= inMemory {
		s.mem = make([]byte, size)
		return s, nil
	}
	f, err := os.CreateTemp(dir, "fetch-")
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	// Without a name it is gone with the process.
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, fmt.Errorf("spool: %w", err)
	}
	s.file = f
	return s, nil
}

// restart begins a new attempt.
func (s *spool) restart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = 0
}

// Write appends to the present attempt.
func (s *spool) Write(p []byte) (int, error) {
	s.mu.Lock()
	at, high := s.at, s.high
	s.mu.Unlock()
	if int64(len(p)) > s.size-at {
		return 0, fmt.Errorf("more than the %d bytes that it has", s.size)
	}
	differs := int64(-1) // where this attempt is not what was written before
	if at < high {
		old := make([]byte, min(int64(len(p)), high-at))
		if _, err := s.readAt(old, at); err != nil {
			return 0, err
		}
		if !bytes.Equal(old, p[:len(old)]) {
			for differs = 0; old[differs] == p[differs]; differs++ {
			}
			differs += at
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if differs >= 0 {
		if s.given > differs {
			s.broken = errChanged
		}
		s.high = differs // what follows is not trusted to be compared with
	}
	if err := s.writeAt(p, at); err != nil {
		return 0, err
	}
	s.at += int64(len(p))
	s.high = max(s.high, s.at)
	s.more.Broadcast()
	return len(p), nil
}

func (s *spool) writeAt(p []byte, at int64) error {
	if s.file == nil {
		copy(s.mem[at:], p)
		return nil
	}
	_, err := s.file.WriteAt(p, at)
	return err
}

func (s *spool) readAt(p []byte, at int64) (int, error) {
	if s.file == nil {
		return copy(p, s.mem[at:]), nil
	}
	return s.file.ReadAt(p, at)
}

// finish says that the whole is there and right, or with an error that it does not come.
func (s *spool) finish(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.whole, s.err = err == nil, err
	s.more.Broadcast()
}

// content is what was verified.
func (s *spool) content() io.Reader {
	if s.file == nil {
		return bytes.NewReader(s.mem)
	}
	return io.NewSectionReader(s.file, 0, s.size)
}

// close gives the file back. Nobody reads any more.
func (s *spool) close() {
	if s.file != nil {
		s.file.Close() // nothing in it is needed any more
	}
}

// follower reads a spool. It belongs to one goroutine.
type follower struct {
	spool *spool
	leave func() // once
	at    int64
}

// Verified tells who serves this that nothing of it need be checked: reading it ends with an error unless it is right.
func (f *follower) Verified() bool { return true }

// Read waits for more, and ends with io.EOF only after all was verified.
func (f *follower) Read(p []byte) (int, error) {
	s := f.spool
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.leave == nil {
		return 0, os.ErrClosed
	}
	for {
		end := min(s.at, s.size-1)
		if s.whole {
			end = s.size
		}
		switch {
		case s.broken != nil && f.at > 0:
			return 0, s.broken
		case f.at < end:
			n, err := s.readAt(p[:min(int64(len(p)), end-f.at)], f.at)
			f.at += int64(n)
			s.given = max(s.given, f.at)
			if err == io.EOF && n > 0 {
				err = nil
			}
			return n, err
		case s.whole:
			return 0, io.EOF
		case s.err != nil:
			return 0, s.err
		case len(p) == 0:
			return 0, nil
		}
		s.more.Wait()
	}
}

// Close lets go of the spool.
func (f *follower) Close() error {
	f.spool.mu.Lock()
	leave := f.leave
	f.leave = nil
	f.spool.mu.Unlock()
	if leave != nil {
		leave()
	}
	return nil
}
