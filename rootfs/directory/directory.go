// Package directory reads a root from a directory of the machine: an unpacked root, a golden image that somebody keeps.
//
// It needs no privileges but those that reading the files needs; what belongs to root and is closed to others needs
// root.
package directory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"masthead/rootfs"
)

// Options say what is left out.
type Options struct {
	// OneFileSystem leaves out what is mounted below the directory; the mount points stay, empty.
	OneFileSystem bool
	// Leave, if not nil, is told of each file below the directory, and says whether it stays out: a directory with all that
	// is in it.
	Leave func(name string, st *unix.Stat_t) bool
	// Live is for a directory that is in use. What is gone when its turn comes is left out, and a file that changes between
	// Read and the moment when the last of its content was read is a *Changed.
	Live bool
}

// Read makes a tree of the directory at path. Owners, modes, times, extended attributes, devices, FIFOs, sockets and
// hard links are as stat(2) shows them. Contents are read from the directory when the tree is built, so it must not
// change until then; a file that got shorter is an error then.
func Read(ctx context.Context, path string, opts Options) (*rootfs.Tree, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return nil, fmt.Errorf("read directory %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil, fmt.Errorf("read directory %s: %w", path, unix.ENOTDIR)
	}
	r := reader{ctx: ctx, root: path, dev: st.Dev, opts: opts, tree: rootfs.New(), links: map[inode]string{}}
	if err := r.add(".", &st); err != nil {
		return nil, fmt.Errorf("read directory %s: %w", path, err)
	}
	if err := r.directory("."); err != nil {
		return nil, fmt.Errorf("read directory %s: %w", path, err)
	}
	return r.tree, nil
}

// inode identifies a file on this machine.
type inode struct{ dev, ino uint64 }

type reader struct {
	ctx   context.Context
	root  string
	dev   uint64 // of the root
	opts  Options
	tree  *rootfs.Tree
	links map[inode]string // first name of each file that has several
}

func (r *reader) directory(name string) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(r.root, name))
	if r.gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		child := filepath.Join(name, e.Name())
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(r.root, child), &st); r.gone(err) {
			continue
		} else if err != nil {
			return fmt.Errorf("%q: %w", child, err)
		}
		if r.opts.Leave != nil && r.opts.Leave(child, &st) {
			continue
		}
		if err := r.add(child, &st); r.gone(err) {
			continue
		} else if err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR || (r.opts.OneFileSystem && st.Dev != r.dev) {
			continue
		}
		if err := r.directory(child); err != nil {
			return err
		}
	}
	return nil
}

// gone reports whether an error says that a file of a directory in use was removed meanwhile.
func (r *reader) gone(err error) bool {
	return r.opts.Live && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR))
}

func (r *reader) add(name string, st *unix.Stat_t) error {
	id := inode{st.Dev, st.Ino}
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		if first, ok := r.links[id]; ok {
			return r.tree.Link(first, name)
		}
		r.links[id] = name
	}
	path := filepath.Join(r.root, name)
	n := rootfs.Node{
		Mode:    st.Mode,
		UID:     st.Uid,
		GID:     st.Gid,
		ModTime: time.Unix(st.Mtim.Unix()),
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		n.Size = st.Size
		sparse := st.Blocks*512 < st.Size
		n.Open = func() (io.ReadCloser, error) { return open(path, sparse) }
		if r.opts.Live {
			seen := MarkOf(st)
			n.Open = func() (io.ReadCloser, error) { return openLive(path, name, sparse, seen) }
		}
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		if err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		n.Target = target
	case unix.S_IFCHR, unix.S_IFBLK:
		n.Rdev = st.Rdev
	}
	var err error
	if n.Xattrs, err = xattrs(path, name == "."); err != nil {
		return fmt.Errorf("%q: extended attributes: %w", name, err)
	}
	return r.tree.Add(name, n)
}

// xattrs reads the extended attributes of the file itself; of what a symbolic link points to only if follow is set, as
// for the root, which may be given as a link.
func xattrs(path string, follow bool) (map[string]string, error) {
	list, get := unix.Llistxattr, unix.Lgetxattr
	if follow {
		list, get = unix.Listxattr, unix.Getxattr
	}
	size, err := list(path, nil)
	if errors.Is(err, unix.ENOTSUP) || (err == nil && size == 0) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	buf := make([]byte, size)
	if size, err = list(path, buf); err != nil {
		return nil, err
	}
	all := map[string]string{}
	value := make([]byte, 64<<10) // XATTR_SIZE_MAX
	for name := range strings.SplitSeq(strings.TrimRight(string(buf[:size]), "\x00"), "\x00") {
		if name == "" {
			continue // overlayfs counts its own in the size that it tells first, and then leaves them out
		}
		n, err := get(path, name, value)
		if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP) {
			continue // gone meanwhile, or listed by a file system that does not give it
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all[name] = string(value[:n])
	}
	return all, nil
}

func open(path string, sparse bool) (io.ReadCloser, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if !sparse {
		return f, nil
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &sparseFile{f: f, size: st.Size()}, nil
}
