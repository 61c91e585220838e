// Package roottest shows trees and directories as text, for the tests of rootfs and of the packages below it.
package roottest

import (
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"masthead/rootfs"
)

const timeFormat = "2006-01-02T15:04:05.999999999"

// Entry is one name in a root, with all that the kernel shows of its file. Link is the first name of a file that has
// several.
type Entry struct {
	Mode     string
	UID, GID uint32
	MTime    string
	Rdev     uint64
	Nlink    uint64
	Size     int64
	Target   string
	Xattrs   map[string]string
	Content  string // digest
	Link     string
}

// Tree lists what is in tree.
func Tree(t testing.TB, tree *rootfs.Tree) map[string]Entry {
	t.Helper()
	names := map[*rootfs.Node][]string{}
	dirs := map[string]uint64{}
	for p, n := range tree.All() {
		names[n] = append(names[n], p)
		if n.IsDir() {
			dirs[filepath.Dir(p)]++
		}
	}
	all := map[string]Entry{}
	for p, n := range tree.All() {
		e := Entry{Mode: fmt.Sprintf("%07o", n.Mode), UID: n.UID, GID: n.GID, MTime: n.ModTime.UTC().Format(timeFormat),
			Rdev: n.Rdev, Nlink: uint64(len(names[n])), Target: n.Target, Size: n.Size}
		if len(n.Xattrs) > 0 {
			e.Xattrs = maps.Clone(n.Xattrs)
		}
		switch {
		case n.IsDir():
			e.Nlink = 2 + dirs[p]
			if p == "." {
				e.Nlink-- // it is its own parent in dirs
			}
		case len(names[n]) > 1:
			e.Link = slices.Min(names[n])
		}
		if n.IsSymlink() {
			e.Size = int64(len(n.Target))
		}
		if n.IsRegular() && n.Size > 0 {
			r, err := n.Open()
			if err != nil {
				t.Fatalf("%q: %v", p, err)
			}
			e.Content = digest(t, p, r)
			r.Close()
		}
		all[p] = e
	}
	return all
}

func digest(t testing.TB, name string, r io.Reader) string {
	t.Helper()
	sum := sha256.New()
	if _, err := io.Copy(sum, r); err != nil {
		t.Fatalf("%q: %v", name, err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil)[:8])
}

// Directory lists what is in the directory dir, as the kernel tells it: it shares no code with what makes roots.
func Directory(t testing.TB, dir string) map[string]Entry {
	t.Helper()
	type inode struct{ dev, ino uint64 }
	first := map[inode]string{}
	all := map[string]Entry{}
	err := filepath.WalkDir(dir, func(full string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		p, err := filepath.Rel(dir, full)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(full, &st); err != nil {
			return fmt.Errorf("%q: %w", full, err)
		}
		e := Entry{Mode: fmt.Sprintf("%07o", st.Mode), UID: st.Uid, GID: st.Gid, Nlink: st.Nlink, Size: st.Size}
		e.MTime = time.Unix(st.Mtim.Unix()).UTC().Format(timeFormat)
		e.Xattrs = xattrs(t, full)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			e.Size = 0 // it depends on the file system
		case unix.S_IFLNK:
			if e.Target, err = os.Readlink(full); err != nil {
				return err
			}
		case unix.S_IFCHR, unix.S_IFBLK:
			e.Rdev = st.Rdev
		case unix.S_IFREG:
			if st.Size > 0 {
				f, err := os.Open(full)
				if err != nil {
					return err
				}
				e.Content = digest(t, full, f)
				f.Close()
			}
		}
		if id := (inode{st.Dev, st.Ino}); st.Nlink > 1 && !d.IsDir() {
			if _, ok := first[id]; !ok {
				first[id] = p
			}
			e.Link = first[id]
		}
		all[p] = e
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func xattrs(t testing.TB, path string) map[string]string {
	t.Helper()
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, buf)
	if err != nil || n == 0 {
		return nil
	}
	all := map[string]string{}
	value := make([]byte, 64<<10)
	for name := range strings.SplitSeq(strings.TrimRight(string(buf[:n]), "\x00"), "\x00") {
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			t.Fatalf("%q: %s: %v", path, name, err)
		}
		all[name] = string(value[:n])
	}
	return all
}
