package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Entry is one file of an archive.
type Entry struct {
	Path   string // relative, clean: lib/modules
	Mode   uint32 // st_mode: type and permissions
	UID    uint32
	GID    uint32
	Rdev   uint64 // of a device node: unix.Mkdev
	Target string // of a symbolic link
	Size   int64  // of a regular file
	// Open gives the Size bytes of a regular file; nil for an empty one.
	Open func() (io.ReadCloser, error)
}

// Dir is a directory that root owns.
func Dir(name string, perm uint32) Entry { return Entry{Path: name, Mode: unix.S_IFDIR | perm} }

// Bytes is a regular file that root owns.
func Bytes(name string, perm uint32, data []byte) Entry {
	return Entry{Path: name, Mode: unix.S_IFREG | perm, Size: int64(len(data)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	}}
}

// Link is a symbolic link.
func Link(name, target string) Entry {
	return Entry{Path: name, Mode: unix.S_IFLNK | 0o777, Target: target}
}

// Char is a character device.
func Char(name string, perm, major, minor uint32) Entry {
	return Entry{Path: name, Mode: unix.S_IFCHR | perm, Rdev: unix.Mkdev(major, minor)}
}

const (
	maxPath = 4095 // the kernel's PATH_MAX with its zero byte
	maxSize = 1<<32 - 1
)

// validate says what is wrong with one entry.
func (e Entry) validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%q: "+format, append([]any{e.Path}, args...)...)
	}
	if !fs.ValidPath(e.Path) && path.Clean(e.Path) != e.Path || e.Path == "." || strings.HasPrefix(e.Path, "/") || strings.HasPrefix(e.Path, "../") || e.Path == ".." {
		return bad("want a clean relative path")
	}
	if e.Path == "TRAILER!!!" || strings.ContainsRune(e.Path, 0) || len(e.Path) >= maxPath {
		return bad("not a possible name in a cpio archive")
	}
	if e.Size < 0 || e.Size > maxSize {
		return bad("%d bytes: the newc format holds up to %d", e.Size, int64(maxSize))
	}
	switch e.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		if e.Size > 0 && e.Open == nil {
			return bad("no contents")
		}
	case unix.S_IFLNK:
		if e.Target == "" || len(e.Target) >= maxPath {
			return bad("link to %q", e.Target)
		}
	case unix.S_IFDIR, unix.S_IFCHR, unix.S_IFBLK, unix.S_IFIFO, unix.S_IFSOCK:
	default:
		return bad("mode %#o has no file type", e.Mode)
	}
	return nil
}

// arrange sorts entries so that directories come before what is in them, and refuses duplicates.
func arrange(entries []Entry) ([]Entry, error) {
	sorted := slices.Clone(entries)
	slices.SortStableFunc(sorted, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	var errs []error
	for i, e := range sorted {
		if err := e.validate(); err != nil {
			errs = append(errs, err)
		}
		if i > 0 && sorted[i-1].Path == e.Path {
			errs = append(errs, fmt.Errorf("%q: twice", e.Path))
		}
	}
	return sorted, errors.Join(errs...)
}
