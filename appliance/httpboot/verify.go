package httpboot

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"masthead/images"
)

// DamagedError is a stored blob that is not what its name says.
type DamagedError struct {
	Digest, Got images.Digest
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("blob %s is damaged: its digest is %s", e.Digest, e.Got)
}

// Try says what helps.
func (e *DamagedError) Try() string {
	return "build or import the image again; check the disk (dmesg, smartctl)"
}

// stamp is a file as it was when it was verified. Any change of it shows here; a bit that rots on the disk does not,
// and is what the machines' own check of each chunk is for.
type stamp struct {
	inode uint64
	size  int64
	mtime time.Time
}

func stampOf(st os.FileInfo) stamp {
	s := stamp{size: st.Size(), mtime: st.ModTime()}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		s.inode = sys.Ino
	}
	return s
}

// verdict is the outcome of reading a whole blob.
type verdict struct {
	stamp stamp
	err   error // a DamagedError, or nil
}

// maxVerdicts bounds the memory of what was verified: about 40 MB, for a thousand images' chunks. Then it starts over.
const maxVerdicts = 200_000

// verifier remembers which blobs are whole.
type verifier struct {
	damaged func(*DamagedError) // told of each once

	mu       sync.Mutex
	verdicts map[images.Digest]verdict
	running  map[images.Digest]chan struct{} // closed when the verdict is there
}

func newVerifier(damaged func(*DamagedError)) *verifier {
	return &verifier{damaged: damaged, verdicts: map[images.Digest]verdict{}, running: map[images.Digest]chan struct{}{}}
}

// check reports whether a blob is whole. The first to ask reads it through read, and others wait for that.
func (v *verifier) check(d images.Digest, s stamp, read func(io.Writer) error) error {
	for {
		v.mu.Lock()
		if known, ok := v.verdicts[d]; ok && known.stamp == s {
			v.mu.Unlock()
			return known.err
		}
		if wait, ok := v.running[d]; ok {
			v.mu.Unlock()
			<-wait
			continue
		}
		done := make(chan struct{})
		v.running[d] = done
		v.mu.Unlock()
		return v.verify(d, s, read, done)
	}
}

func (v *verifier) verify(d images.Digest, s stamp, read func(io.Writer) error, done chan struct{}) error {
	sum := sha256.New()
	err := read(sum)
	var bad *DamagedError
	if got := images.DigestFromSum(sum.Sum(nil)); err == nil && got != d {
		bad = &DamagedError{Digest: d, Got: got}
	}
	v.mu.Lock()
	if err == nil {
		if len(v.verdicts) >= maxVerdicts {
			clear(v.verdicts)
		}
		known := verdict{stamp: s}
		if bad != nil {
			known.err = bad
		}
		v.verdicts[d] = known
	}
	delete(v.running, d)
	close(done)
	v.mu.Unlock()
	if err != nil {
		return fmt.Errorf("read blob %s: %w", d.Short(), err)
	}
	if bad != nil {
		if v.damaged != nil {
			v.damaged(bad)
		}
		return bad
	}
	return nil
}
