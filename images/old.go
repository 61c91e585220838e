package images

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A blob whose content is not what its name says, and one that nothing refers to, is not deleted but set aside: it gets
// the extension .old.NN, with the lowest NN from 00 to 99 that is free (seed 000, "Shared Storage and Peer Downloads").
// Should the digest have been wrong and not the file, an administrator can put it back by hand.
const (
	oldInfix = ".old."
	maxOld   = 100
)

// ErrOldFull is a blob that cannot be set aside: all hundred names are taken. Nothing is overwritten.
var ErrOldFull = errors.New(".old.00 to .old.99 are all taken")

// Old is a blob that was set aside.
type Old struct {
	Name   string `json:"name"`   // abcdef….old.03
	Digest Digest `json:"digest"` // what its name said it was
	Size   int64  `json:"size"`   // bytes
	Path   string `json:"path"`
}

// parseOld takes the name of a file apart that was set aside.
func parseOld(name string) (d Digest, ok bool) {
	h, number, found := strings.Cut(name, oldInfix)
	d = Digest(digestPrefix + h)
	return d, found && len(number) == 2 && strings.Trim(number, "0123456789") == "" && d.Valid()
}

func oldPath(path string, n int) string { return fmt.Sprintf("%s%s%02d", path, oldInfix, n) }

// SetAside renames a blob to the first name NAME.old.NN that is free.
func (s *Store) SetAside(d Digest) (Old, error) {
	f, err := s.OpenFile(d)
	if err != nil {
		return Old{}, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return Old{}, fmt.Errorf("set blob %s aside: %w", d.Short(), err)
	}
	return s.setAside(d, st)
}

// setAside sets the blob of that digest aside if its file is still the one that st tells of: another process may have
// replaced a damaged one meanwhile, by rename.
func (s *Store) setAside(d Digest, st fs.FileInfo) (Old, error) {
	path := s.path(d)
	now, err := os.Lstat(path)
	if err == nil && !os.SameFile(now, st) {
		err = fmt.Errorf("it was replaced: %w", ErrNotFound)
	}
	for n := 0; err == nil && n < maxOld; n++ {
		aside := oldPath(path, n)
		if err = renameNew(path, aside); err == nil {
			return Old{Name: filepath.Base(aside), Digest: d, Size: st.Size(), Path: aside}, nil
		}
		if errors.Is(err, fs.ErrExist) {
			err = nil
		}
	}
	if err == nil {
		err = ErrOldFull
	} else if errors.Is(err, fs.ErrNotExist) {
		err = ErrNotFound
	}
	return Old{}, fmt.Errorf("set blob %s aside: %w", d.Short(), err)
}

// renameNew renames a file and overwrites nothing.
func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	// NFS cannot (renameat2(2)); a link does not overwrite either.
	if err := os.Link(from, to); err != nil {
		return err
	}
	return os.Remove(from)
}

// OpenChecked opens a blob after it has read the whole of it: one whose content is not what its name says, or whose size
// is not b.Size where that is above zero, is set aside and answered like one that is not here. The file is at its start.
func (s *Store) OpenChecked(b Blob) (*os.File, error) {
	f, err := s.OpenFile(b.Digest)
	if err != nil {
		return nil, err
	}
	st, bad, err := examine(context.Background(), f, b, true)
	if err == nil && bad == "" {
		if _, err = f.Seek(0, io.SeekStart); err == nil {
			return f, nil
		}
	}
	f.Close()
	if err != nil {
		return nil, fmt.Errorf("check blob %s: %w", b.Digest.Short(), err)
	}
	old, err := s.setAside(b.Digest, st)
	if err != nil {
		return nil, fmt.Errorf("blob %s: %s: %w", b.Digest.Short(), bad, errors.Join(ErrNotFound, err))
	}
	return nil, fmt.Errorf("blob %s: %s; it is now %s: %w", b.Digest.Short(), bad, old.Name, ErrNotFound)
}

// examine says in bad what is wrong with the file of a blob: its size, and with content its bytes.
func examine(ctx context.Context, f *os.File, b Blob, content bool) (st fs.FileInfo, bad string, err error) {
	if st, err = f.Stat(); err != nil {
		return nil, "", err
	}
	if b.Size > 0 && st.Size() != b.Size {
		return st, fmt.Sprintf("%d bytes, want %d", st.Size(), b.Size), nil
	}
	if !content {
		return st, "", nil
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, contextReader{ctx, f}); err != nil {
		return st, "", err
	}
	if got := DigestFromSum(sum.Sum(nil)); got != b.Digest {
		return st, "damaged: its digest is " + got.Short(), nil
	}
	return st, "", nil
}

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// Revive gives a blob that was set aside its name back if its content is right, and reports whether the blob is here
// now. An image that was forgotten and is wanted again need not be sent again.
func (s *Store) Revive(d Digest) bool {
	if !d.Valid() {
		return false
	}
	path := s.path(d)
	for n := range maxOld {
		f, err := os.Open(oldPath(path, n))
		if err != nil {
			continue
		}
		_, bad, err := examine(context.Background(), f, Blob{Digest: d}, true)
		f.Close()
		if err == nil && bad == "" {
			return os.Rename(oldPath(path, n), path) == nil
		}
	}
	return false
}

// Old lists what was set aside, by name.
func (s *Store) Old() ([]Old, error) {
	var all []Old
	err := s.walk(func(path string, e fs.DirEntry) error {
		d, ok := parseOld(e.Name())
		if !ok {
			return nil
		}
		st, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			all = append(all, Old{Name: e.Name(), Digest: d, Size: st.Size(), Path: path})
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list what was set aside: %w", err)
	}
	slices.SortFunc(all, func(a, b Old) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// RemoveOld deletes what was set aside, and returns how many bytes that freed.
func (s *Store) RemoveOld() (freed int64, err error) {
	all, err := s.Old()
	if err != nil {
		return 0, err
	}
	for _, o := range all {
		if err := os.Remove(o.Path); errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return freed, fmt.Errorf("remove what was set aside: %w", err)
		}
		freed += o.Size
	}
	return freed, nil
}

// walk calls f for each file among the blobs. What goes away meanwhile is no error.
func (s *Store) walk(f func(path string, e fs.DirEntry) error) error {
	return filepath.WalkDir(filepath.Join(s.dir, "blobs"), func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		return f(path, e)
	})
}
