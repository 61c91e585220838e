package rootfs

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of what a root can hold.
const (
	maxName       = 255   // EROFS_NAME_LEN, and NAME_MAX of the kernel
	maxXattrName  = 255   // XATTR_NAME_MAX
	maxXattrValue = 65535 // 16 bits in erofs_xattr_entry; XATTR_SIZE_MAX is one more
	maxXattrs     = 128 << 10
)

// Node is a file of any type, as stat(2) sees it. Two names of one file (hard links) are two entries for the same Node.
type Node struct {
	Mode    uint32 // type and permissions, as st_mode: unix.S_IFREG | unix.S_ISUID | 0o755
	UID     uint32
	GID     uint32
	ModTime time.Time
	Xattrs  map[string]string // full names: security.capability; nil or empty: none
	Rdev    uint64            // of a device, as unix.Mkdev gives it
	Target  string            // of a symbolic link; need not be UTF-8
	Size    int64             // bytes of a regular file
	// Open gives the Size bytes of a regular file, and may be called any number of times; nil if Size is 0. It is called
	// when the content is needed, so what it reads from must still be there then.
	Open func() (io.ReadCloser, error)

	entries map[string]*Node // of a directory
}

// Type is the S_IFMT part of the mode.
func (n *Node) Type() uint32 { return n.Mode & unix.S_IFMT }

// IsDir reports whether n is a directory.
func (n *Node) IsDir() bool { return n.Type() == unix.S_IFDIR }

// IsRegular reports whether n is a regular file.
func (n *Node) IsRegular() bool { return n.Type() == unix.S_IFREG }

// IsSymlink reports whether n is a symbolic link.
func (n *Node) IsSymlink() bool { return n.Type() == unix.S_IFLNK }

// IsWhiteout reports whether n is overlayfs's mark of a removed file: a character device 0, 0 (kernel,
// Documentation/filesystems/overlayfs.rst). It stays in the root as it is.
func (n *Node) IsWhiteout() bool { return n.Type() == unix.S_IFCHR && n.Rdev == 0 }

// FileMode is the mode as Go writes it.
func (n *Node) FileMode() fs.FileMode {
	m := fs.FileMode(n.Mode & 0o777)
	for _, b := range []struct {
		bit uint32
		go_ fs.FileMode
	}{{unix.S_ISUID, fs.ModeSetuid}, {unix.S_ISGID, fs.ModeSetgid}, {unix.S_ISVTX, fs.ModeSticky}} {
		if n.Mode&b.bit != 0 {
			m |= b.go_
		}
	}
	switch n.Type() {
	case unix.S_IFDIR:
		m |= fs.ModeDir
	case unix.S_IFLNK:
		m |= fs.ModeSymlink
	case unix.S_IFCHR:
		m |= fs.ModeDevice | fs.ModeCharDevice
	case unix.S_IFBLK:
		m |= fs.ModeDevice
	case unix.S_IFIFO:
		m |= fs.ModeNamedPipe
	case unix.S_IFSOCK:
		m |= fs.ModeSocket
	}
	return m
}

// check refuses what no image could carry, and forgets what says nothing about the file.
func (n *Node) check() error {
	switch n.Type() {
	case unix.S_IFREG:
		if n.Size < 0 || (n.Size > 0 && n.Open == nil) {
			return fmt.Errorf("%d bytes without content", n.Size)
		}
	case unix.S_IFLNK:
		if n.Target == "" || len(n.Target) > maxPath || strings.ContainsRune(n.Target, 0) {
			return fmt.Errorf("symbolic link to %.60q: want 1 to %d bytes without NUL", n.Target, maxPath)
		}
	case unix.S_IFCHR, unix.S_IFBLK:
		if major, minor := unix.Major(n.Rdev), unix.Minor(n.Rdev); major >= 1<<12 || minor >= 1<<20 {
			return fmt.Errorf("device %d,%d: want at most 4095,1048575", major, minor)
		}
	case unix.S_IFDIR, unix.S_IFIFO, unix.S_IFSOCK:
	default:
		return fmt.Errorf("unknown file type %#o", n.Type())
	}
	return n.checkXattrs()
}

func (n *Node) checkXattrs() error {
	total := 0
	for name, value := range n.Xattrs {
		switch {
		case name == aclAccess, name == aclDefault:
		case strings.HasPrefix(name, "user."), strings.HasPrefix(name, "trusted."), strings.HasPrefix(name, "security."):
		case strings.HasPrefix(name, "system."):
			// What NFS, CIFS, … show there describes the file system that the file was read from, not the file.
			delete(n.Xattrs, name)
			continue
		default:
			return fmt.Errorf("extended attribute %q: want user., trusted., security. or a POSIX ACL", name)
		}
		if len(name) > maxXattrName || len(value) > maxXattrValue || strings.ContainsRune(name, 0) {
			return fmt.Errorf("extended attribute %.60q of %d bytes: at most %d for the name and %d for the value", name, len(value), maxXattrName, maxXattrValue)
		}
		total += len(name) + len(value) + 8
	}
	if total > maxXattrs {
		return fmt.Errorf("%d bytes of extended attributes, at most %d", total, maxXattrs)
	}
	return nil
}

// Bytes gives an Open for content in memory.
func Bytes(data []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
}

// File is a regular file with its content in memory, owned by root.
func File(perm uint32, mtime time.Time, data []byte) Node {
	return Node{Mode: unix.S_IFREG | perm, ModTime: mtime, Size: int64(len(data)), Open: Bytes(data)}
}
