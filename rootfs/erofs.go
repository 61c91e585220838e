package rootfs

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	"github.com/erofs/go-erofs"
	"golang.org/x/sys/unix"
)

// POSIX ACLs as the tree names them. EROFS stores them by index with an empty rest (kernel, fs/erofs/xattr.h), and
// go-erofs's prefixes for them end in a dot that no name has, so that it would store them where the kernel does not
// look. Handing it the name with the dot gives the right bytes.
const (
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
)

// WriteEROFS writes tree to f, from its start, as an uncompressed EROFS image, and returns the image's size in bytes, a
// multiple of 4096. The same tree and epoch give the same bytes. Modification times after epoch are set to epoch, which
// is also the build time of the file system. Hard links are kept, holes in f stand for blocks of zeros, and a content
// whose length is not the Size of its node is an error that names it.
func WriteEROFS(ctx context.Context, f *os.File, tree *Tree, epoch time.Time) (int64, error) {
	out := newImageFile(f, make([]byte, DefaultChunkSize), nil)
	if err := writeEROFS(ctx, out, tree, epoch); err != nil {
		return 0, err
	}
	return out.size, nil
}

func writeEROFS(ctx context.Context, out *imageFile, tree *Tree, epoch time.Time) error {
	src := &erofsSource{ctx: ctx, tree: tree, epoch: epoch, links: findLinks(tree), out: out}
	w := erofs.Create(out, erofs.WithBuildTime(uint64(epoch.Unix()), 0))
	if err := w.CopyFrom(src); err != nil {
		return fmt.Errorf("write EROFS: %w", err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("write EROFS: %w", err)
	}
	if err := finishImage(out.f, out.size, tree, src.links); err != nil {
		return fmt.Errorf("write EROFS: %w", err)
	}
	return nil
}

// links is what is known of the nodes that have several names.
type links map[*Node]*linkInfo

type linkInfo struct {
	first string // the name that carries the content: the first in the tree's order
	count uint32
}

func findLinks(tree *Tree) links {
	seen := map[*Node]string{}
	found := links{}
	for p, n := range tree.All() {
		if n.IsDir() {
			continue
		}
		first, again := seen[n]
		if !again {
			seen[n] = p
			continue
		}
		if found[n] == nil {
			found[n] = &linkInfo{first: first, count: 1}
		}
		found[n].count++
	}
	return found
}

// erofsSource shows a tree to go-erofs. Of a node with several names only the first is what it is; the others are
// empty files, which hardlink.go then takes out again: go-erofs knows no hard links.
type erofsSource struct {
	ctx   context.Context
	tree  *Tree
	epoch time.Time
	links links
	out   *imageFile // is told when a content is read
}

func (s *erofsSource) info(p string, n *Node) fs.FileInfo {
	if l := s.links[n]; l != nil && l.first != p {
		// The modification time lets go-erofs choose the smaller form of inode.
		return erofsInfo{nodeInfo{path.Base(p), &Node{Mode: unix.S_IFREG, ModTime: s.epoch}}, &erofs.Stat{Mtime: uint64(s.epoch.Unix())}}
	}
	mtime := n.ModTime
	if mtime.After(s.epoch) {
		mtime = s.epoch
	}
	st := &erofs.Stat{
		Rdev:    encodeRdev(n.Rdev),
		UID:     n.UID,
		GID:     n.GID,
		Mtime:   uint64(mtime.Unix()),
		MtimeNs: uint32(mtime.Nanosecond()),
		Nlink:   1,
		Xattrs:  erofsXattrs(n.Xattrs),
	}
	if l := s.links[n]; l != nil {
		st.Nlink = int(l.count)
	}
	if n.IsDir() {
		st.Nlink = 2
		for _, e := range n.entries {
			if e.IsDir() {
				st.Nlink++
			}
		}
	}
	return erofsInfo{nodeInfo{path.Base(p), n}, st}
}

// encodeRdev is the kernel's new_encode_dev (include/linux/kdev_t.h), which EROFS stores.
func encodeRdev(rdev uint64) uint32 {
	major, minor := unix.Major(rdev), unix.Minor(rdev)
	return minor&0xff | major<<8 | minor&^0xff<<12
}

func erofsXattrs(xattrs map[string]string) map[string]string {
	if len(xattrs) == 0 {
		return nil
	}
	out := make(map[string]string, len(xattrs))
	for name, value := range xattrs {
		if name == aclAccess || name == aclDefault {
			name += "."
		}
		out[name] = value
	}
	return out
}

// erofsInfo gives go-erofs the metadata in the one exported form that it takes from a foreign file system.
type erofsInfo struct {
	nodeInfo
	st *erofs.Stat
}

func (i erofsInfo) Sys() any { return i.st }

func (s *erofsSource) Stat(p string) (fs.FileInfo, error) {
	n, err := s.tree.Lookup(p)
	if err != nil {
		return nil, err
	}
	return s.info(p, n), nil
}

func (s *erofsSource) ReadDir(p string) ([]fs.DirEntry, error) {
	n, err := s.tree.Lookup(p)
	if err != nil {
		return nil, err
	}
	all := dirEntries(n)
	for i, e := range all {
		child := e.Name()
		all[i] = fs.FileInfoToDirEntry(s.info(path.Join(p, child), n.entries[child]))
	}
	return all, s.ctx.Err()
}

func (s *erofsSource) ReadLink(p string) (string, error) {
	n, err := s.tree.Lookup(p)
	if err != nil {
		return "", err
	}
	return n.Target, nil
}

// Open is called for every regular file before the first is read, so the content is opened later still.
func (s *erofsSource) Open(p string) (fs.File, error) {
	n, err := s.tree.Lookup(p)
	if err != nil {
		return nil, err
	}
	return &lazyFile{nodeInfo: nodeInfo{path.Base(p), n}, src: s, path: p, left: n.Size}, nil
}

// lazyFile opens its content when the first byte is wanted and gives exactly the node's Size: go-erofs would write a
// broken image where an inlined file turns out shorter than announced.
type lazyFile struct {
	nodeInfo
	src  *erofsSource
	path string
	r    io.ReadCloser
	left int64
}

func (f *lazyFile) Read(p []byte) (int, error) {
	if f.left == 0 {
		return 0, io.EOF
	}
	if err := f.src.ctx.Err(); err != nil {
		return 0, err
	}
	if f.r == nil {
		r, err := f.n.Open()
		if err != nil {
			return 0, fmt.Errorf("read %q: %w", f.path, err)
		}
		f.r = r
	}
	n, err := f.r.Read(p[:min(int64(len(p)), f.left)])
	f.left -= int64(n)
	f.src.out.contentRead(p[:n])
	if err == io.EOF && f.left > 0 {
		err = fmt.Errorf("%d bytes are missing of %d: %w", f.left, f.n.Size, io.ErrUnexpectedEOF)
	}
	if err != nil && err != io.EOF {
		return n, fmt.Errorf("read %q: %w", f.path, err)
	}
	return n, nil
}

func (f *lazyFile) Close() error {
	if f.r == nil {
		return nil
	}
	return f.r.Close()
}
