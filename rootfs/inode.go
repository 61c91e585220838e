package rootfs

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// EROFS on disk (kernel, fs/erofs/erofs_fs.h).
const (
	blockSize  = 4096
	blockBits  = 12
	superMagic = 0xe0f5e1e2
	superAt    = 1024 // bytes

	nidSize       = 32 // an inode's number counts these from the first metadata block
	inodeCompact  = 32 // bytes
	inodeExtended = 64
	direntSize    = 12
	xattrHeader   = 12

	layoutPlain  = 0 // data in blocks of its own
	layoutInline = 2 // data behind the inode
)

// POSIX ACLs as the tree names them. EROFS stores them by index, with an empty rest (kernel, fs/erofs/xattr.h).
const (
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
)

// inode is a file of the image.
type inode struct {
	node  *Node
	path  string // the first of its names, in the tree's order
	nlink uint32
	size  int64  // of its data
	dir   *inode // that it is in
	kids  []*inode
	names []string // of the kids; sorted, with "." and ".."

	compact bool
	xattrs  []byte
	inline  bool   // the data follow the inode
	nid     uint64 // where it is
	block   int64  // where its data are, if they are not inline
}

// mtime is the time that the image holds.
func (n *Node) mtime(epoch time.Time) time.Time {
	if n.ModTime.After(epoch) {
		return epoch
	}
	return n.ModTime
}

// head is the number of bytes of the inode with its extended attributes.
func (i *inode) head() int64 {
	if i.compact {
		return inodeCompact + int64(len(i.xattrs))
	}
	return inodeExtended + int64(len(i.xattrs))
}

// fitsCompact reports whether the small form, which has the image's own time, can hold the inode.
func (i *inode) fitsCompact(epoch time.Time) bool {
	n := i.node
	return n.UID <= 0xffff && n.GID <= 0xffff && i.nlink <= 0xffff && i.size <= 0xffffffff && n.mtime(epoch).Equal(epoch)
}

// encode writes the inode, without what is inline, to p.
func (i *inode) encode(p []byte, epoch time.Time) {
	le, n := binary.LittleEndian, i.node
	layout := layoutPlain
	if i.inline {
		layout = layoutInline
	}
	format, core := layout<<1, inodeCompact
	if !i.compact {
		format, core = format|1, inodeExtended
	}
	le.PutUint16(p, uint16(format))
	if len(i.xattrs) > 0 { // erofs_xattr_ibody_size
		le.PutUint16(p[2:], uint16((len(i.xattrs)-xattrHeader)/4+1))
	}
	le.PutUint16(p[4:], uint16(n.Mode))
	data := uint32(i.block)
	if t := n.Type(); t == unix.S_IFCHR || t == unix.S_IFBLK {
		data = encodeRdev(n.Rdev)
	}
	le.PutUint32(p[16:], data)
	le.PutUint32(p[20:], uint32(i.nid)) // a serial number; what stat(2) shows is the nid
	if i.compact {
		le.PutUint16(p[6:], uint16(i.nlink))
		le.PutUint32(p[8:], uint32(i.size))
		le.PutUint16(p[24:], uint16(n.UID))
		le.PutUint16(p[26:], uint16(n.GID))
	} else {
		t := n.mtime(epoch)
		le.PutUint64(p[8:], uint64(i.size))
		le.PutUint32(p[24:], n.UID)
		le.PutUint32(p[28:], n.GID)
		le.PutUint64(p[32:], uint64(t.Unix()))
		le.PutUint32(p[40:], uint32(t.Nanosecond()))
		le.PutUint32(p[44:], i.nlink)
	}
	copy(p[core:], i.xattrs)
}

// encodeRdev is the kernel's new_encode_dev (include/linux/kdev_t.h), which EROFS stores.
func encodeRdev(rdev uint64) uint32 {
	major, minor := unix.Major(rdev), unix.Minor(rdev)
	return minor&0xff | major<<8 | minor&^0xff<<12
}

// xattrPrefixes are what EROFS stores as a number instead (EROFS_XATTR_INDEX_…).
var xattrPrefixes = []struct {
	prefix string
	index  byte
}{{"user.", 1}, {aclAccess, 2}, {aclDefault, 3}, {"trusted.", 4}, {"security.", 6}}

// encodeXattrs gives the extended attributes as they follow an inode.
func encodeXattrs(xattrs map[string]string) ([]byte, error) {
	if len(xattrs) == 0 {
		return nil, nil
	}
	p := make([]byte, xattrHeader)
	for _, name := range slices.Sorted(maps.Keys(xattrs)) {
		var index byte
		rest, value := name, xattrs[name]
		for _, k := range xattrPrefixes {
			if strings.HasPrefix(name, k.prefix) {
				index, rest = k.index, name[len(k.prefix):]
				break
			}
		}
		p = append(p, byte(len(rest)), index)
		p = binary.LittleEndian.AppendUint16(p, uint16(len(value)))
		p = append(append(p, rest...), value...)
		for len(p)%4 != 0 {
			p = append(p, 0)
		}
	}
	if (len(p)-xattrHeader)/4+1 > 0xffff {
		return nil, fmt.Errorf("%d bytes of extended attributes", len(p))
	}
	return p, nil
}

// direntBlocks cuts the sorted names of a directory as they fit into blocks, and gives the size of the whole: the last
// block ends with its last name.
func direntBlocks(names []string) (cut [][]string, size int64) {
	used, begin := 0, 0
	for i, name := range names {
		need := direntSize + len(name)
		if used+need > blockSize {
			cut = append(cut, names[begin:i])
			used, begin = 0, i
		}
		used += need
	}
	cut = append(cut, names[begin:])
	return cut, int64(len(cut)-1)*blockSize + int64(used)
}

// dirents gives the data of a directory.
func (i *inode) dirents() []byte {
	le := binary.LittleEndian
	to := make(map[string]*inode, len(i.names))
	k := 0
	for _, name := range i.names {
		switch name {
		case ".":
			to[name] = i
		case "..":
			to[name] = i.dir
		default:
			to[name] = i.kids[k]
			k++
		}
	}
	cut, size := direntBlocks(i.names)
	p := make([]byte, size)
	for b, names := range cut {
		block := p[b*blockSize : min(int64(b+1)*blockSize, size)]
		at := len(names) * direntSize // of the first name
		for j, name := range names {
			e := block[j*direntSize:]
			le.PutUint64(e, to[name].nid)
			le.PutUint16(e[8:], uint16(at))
			e[10] = fileType(to[name].node)
			at += copy(block[at:], name)
		}
	}
	return p
}

// fileType is the FT_… that a directory entry holds (kernel, include/linux/fs_types.h).
func fileType(n *Node) byte {
	switch n.Type() {
	case unix.S_IFREG:
		return 1
	case unix.S_IFDIR:
		return 2
	case unix.S_IFCHR:
		return 3
	case unix.S_IFBLK:
		return 4
	case unix.S_IFIFO:
		return 5
	case unix.S_IFSOCK:
		return 6
	}
	return 7 // symbolic link
}
