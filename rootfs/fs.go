package rootfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// FS is the tree as an fs.FS that also implements fs.ReadDirFS, fs.StatFS and fs.ReadLinkFS. Symbolic links are
// followed inside the tree. Sys of a file's info is its *Node. Names that are not UTF-8 work, against fs.ValidPath.
func (t *Tree) FS() fs.FS { return treeFS{t} }

type treeFS struct{ t *Tree }

// get is what Tree.get is, for names in the one form that an fs.FS takes (fs.ValidPath, but for UTF-8).
func (f treeFS) get(op, name string, follow bool) (*Node, error) {
	if name != path.Clean(name) || path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../") {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	return f.t.get(op, name, follow)
}

func (f treeFS) Open(name string) (fs.File, error) {
	n, err := f.get("open", name, true)
	if err != nil {
		return nil, err
	}
	info := nodeInfo{path.Base(name), n}
	if n.IsDir() {
		return &dirFile{nodeInfo: info, rest: dirEntries(n)}, nil
	}
	if !n.IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("not a regular file or directory")}
	}
	r, err := n.open()
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &regularFile{info, r}, nil
}

// open gives the content of a regular file, also of an empty one.
func (n *Node) open() (io.ReadCloser, error) {
	if n.Size == 0 {
		return io.NopCloser(bytes.NewReader(nil)), nil
	}
	return n.Open()
}

func (f treeFS) Stat(name string) (fs.FileInfo, error) {
	n, err := f.get("stat", name, true)
	if err != nil {
		return nil, err
	}
	return nodeInfo{path.Base(name), n}, nil
}

func (f treeFS) Lstat(name string) (fs.FileInfo, error) {
	n, err := f.get("lstat", name, false)
	if err != nil {
		return nil, err
	}
	return nodeInfo{path.Base(name), n}, nil
}

func (f treeFS) ReadLink(name string) (string, error) {
	n, err := f.get("readlink", name, false)
	if err != nil {
		return "", err
	}
	if !n.IsSymlink() {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: unix.EINVAL}
	}
	return n.Target, nil
}

func (f treeFS) ReadDir(name string) ([]fs.DirEntry, error) {
	n, err := f.get("readdir", name, true)
	if err != nil {
		return nil, err
	}
	if !n.IsDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: unix.ENOTDIR}
	}
	return dirEntries(n), nil
}

func dirEntries(n *Node) []fs.DirEntry {
	all := make([]fs.DirEntry, 0, len(n.entries))
	for _, name := range slices.Sorted(maps.Keys(n.entries)) {
		all = append(all, fs.FileInfoToDirEntry(nodeInfo{name, n.entries[name]}))
	}
	return all
}

type nodeInfo struct {
	name string
	n    *Node
}

func (i nodeInfo) Name() string               { return i.name }
func (i nodeInfo) Size() int64                { return i.n.Size }
func (i nodeInfo) Mode() fs.FileMode          { return i.n.FileMode() }
func (i nodeInfo) ModTime() time.Time         { return i.n.ModTime }
func (i nodeInfo) IsDir() bool                { return i.n.IsDir() }
func (i nodeInfo) Sys() any                   { return i.n }
func (i nodeInfo) Stat() (fs.FileInfo, error) { return i, nil }

type regularFile struct {
	nodeInfo
	io.ReadCloser
}

type dirFile struct {
	nodeInfo
	rest []fs.DirEntry
}

func (d *dirFile) Close() error { return nil }

func (d *dirFile) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: unix.EISDIR}
}

func (d *dirFile) ReadDir(count int) ([]fs.DirEntry, error) {
	if count <= 0 {
		all := d.rest
		d.rest = nil
		return all, nil
	}
	if len(d.rest) == 0 {
		return nil, io.EOF
	}
	count = min(count, len(d.rest))
	some := d.rest[:count]
	d.rest = d.rest[count:]
	return some, nil
}
