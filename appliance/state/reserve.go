package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// reserve is disk space kept back in a file of its own. When the disk is full the file goes, and what it held is room
// enough to write what makes the state smaller.
type reserve struct {
	path string
	size int64
}

const (
	// defaultReserve holds a few hundred commits: bbolt writes the changed pages, some 4 KiB each, and reuses the old.
	defaultReserve = 8 << 20
	// reserveMargin must be free beside the reserve, or the state would go to and fro between full and not full.
	reserveMargin = 1 << 20
)

// take makes sure that the space is kept back. An error means that there is no room for it.
func (r reserve) take() error {
	if st, err := os.Stat(r.path); err == nil && st.Size() == r.size {
		return r.margin()
	}
	f, err := os.OpenFile(r.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("state: keep space back: %w", err)
	}
	defer f.Close()
	err = unix.Fallocate(int(f.Fd()), 0, 0, r.size)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = fillZero(f, r.size)
	}
	if err == nil {
		err = r.margin()
	}
	if err != nil {
		r.release()
		return fmt.Errorf("state: keep %d bytes back in %s: %w", r.size, r.path, err)
	}
	return nil
}

func (r reserve) margin() error {
	var st unix.Statfs_t
	if err := unix.Statfs(r.path, &st); err != nil {
		return err
	}
	if st.Bavail*uint64(st.Bsize) < reserveMargin {
		return unix.ENOSPC
	}
	return nil
}

// release gives the space free.
func (r reserve) release() error {
	if err := os.Remove(r.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("state: give reserved space free: %w", err)
	}
	return nil
}

// fillZero is for file systems that cannot allocate without writing. They are synced, since delayed allocation would
// promise the space to others too.
func fillZero(f *os.File, size int64) error {
	block := make([]byte, 1<<16)
	for at := int64(0); at < size; at += int64(len(block)) {
		if _, err := f.WriteAt(block[:min(int64(len(block)), size-at)], at); err != nil {
			return err
		}
	}
	return f.Sync()
}

func noSpace(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// shrinks reports whether r, as a Put, is shorter than the value that it replaces. Equal is not shorter: what is written
// all the time, such as what a machine reports, would use up the reserve.
func (x *index) shrinks(r Record) bool {
	now, ok := x.lookup(r.Key)
	return ok && !now.Deleted && len(r.Value) < len(now.Value)
}

// smaller reports whether taking over r of another head makes the state smaller.
func (x *index) smaller(r Record) bool {
	if r.Deleted {
		return true
	}
	now, ok := x.lookup(r.Key)
	return ok && now.Version.Compare(r.Version) < 0 && x.shrinks(r)
}
