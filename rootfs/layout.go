package rootfs

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"time"
)

// layout says where everything of a tree is in its image:
//
//	block 0   superblock
//	block 1   inodes in groups, with the targets of symbolic links and with small directories
//	…         contents of files in groups, among them the larger directories
//
// Small files are not kept with their inodes, as EROFS could: the inodes change little from one version to the next,
// and a content that changes would move them.
type layout struct {
	epoch  time.Time
	inodes []*inode // in the order of the tree; the root is the first
	meta   []byte   // the image up to the contents
	groups []group  // in the order of the image
	size   int64    // of the image, in bytes
}

// group is a part of the image. Behind it is a gap up to the next.
type group struct {
	start  int64    // bytes from the start of the image
	bytes  int64    // whole blocks
	inodes []*inode // whose contents it is; none: it is metadata
}

// maxInline is the size of the largest directory that follows its inode. A larger one would leave too much of a block
// unused, which its neighbours could have had.
const maxInline = 2048

// plan lays out a tree. Chunks of about chunkSize are to be cut from it.
func plan(tree *Tree, epoch time.Time, chunkSize int64) (*layout, error) {
	l := &layout{epoch: epoch}
	if err := l.collect(tree); err != nil {
		return nil, err
	}
	// A chunk of metadata is a fifth of one of contents: a version changes a few inodes here and there.
	inodes := shape{least: chunkSize / 8, one: 256, most: chunkSize, lone: chunkSize, step: 1}
	end := l.place(inodes)
	contents := shape{least: chunkSize / 4, one: 16, most: chunkSize + chunkSize/2, lone: chunkSize / 2, step: 8}
	if err := l.placeContents(contents, end); err != nil {
		return nil, err
	}
	l.encode(end * blockSize)
	return l, nil
}

// collect makes the inodes of a tree, each once.
func (l *layout) collect(tree *Tree) error {
	known := map[*Node]*inode{}
	for p, n := range tree.All() {
		if i := known[n]; i != nil {
			i.nlink++
			continue
		}
		i := &inode{node: n, path: p, nlink: 1}
		known[n] = i
		l.inodes = append(l.inodes, i)
	}
	l.inodes[0].dir = l.inodes[0] // ".." of the root
	for _, i := range l.inodes {
		var err error
		if i.xattrs, err = encodeXattrs(i.node.Xattrs); err != nil {
			return fmt.Errorf("%q: %w", i.path, err)
		}
		switch n := i.node; {
		case n.IsDir():
			i.nlink = 2
			sorted := slices.Sorted(maps.Keys(n.entries))
			for _, name := range sorted {
				kid := known[n.entries[name]]
				i.kids = append(i.kids, kid)
				if kid.node.IsDir() {
					kid.dir = i
					i.nlink++
				}
			}
			i.names = append(sorted, ".", "..")
			slices.Sort(i.names)
			_, i.size = direntBlocks(i.names)
		case n.IsSymlink():
			i.size = int64(len(n.Target))
		case n.IsRegular():
			i.size = n.Size
		}
		i.compact = i.fitsCompact(l.epoch)
		i.inline = i.node.IsDir() && i.size <= maxInline || i.node.IsSymlink()
		if i.head()+i.size > blockSize {
			i.inline = false // what is inline must not cross into another block
		}
	}
	return nil
}

// length is the number of bytes of an inode among the metadata.
func (i *inode) length() int64 {
	if i.inline {
		return i.head() + i.size
	}
	return i.head()
}

// place gives the inodes their numbers, and returns the first block behind them.
func (l *layout) place(s shape) (end int64) {
	const first = 1 // block: the first of the metadata
	end = first
	begin := 0
	for _, to := range s.groups(len(l.inodes), func(k int) (string, int64) {
		return path.Base(l.inodes[k].path), roundUp(l.inodes[k].length(), nidSize)
	}) {
		var at int64
		for _, i := range l.inodes[begin:to] {
			if at%blockSize+min(i.length(), blockSize) > blockSize {
				at = roundUp(at, blockSize)
			}
			i.nid = uint64((end-first)*blockSize+at) / nidSize
			at = roundUp(at+i.length(), nidSize)
		}
		l.groups = append(l.groups, group{start: end * blockSize, bytes: roundUp(at, blockSize)})
		end += room(blocks(at), s.step)
		begin = to
	}
	return first + room(end-first, 16)
}

// placeContents gives what is not inline its blocks, from the block start on.
func (l *layout) placeContents(s shape, start int64) error {
	var list []*inode
	for _, i := range l.inodes {
		if i.size > 0 && !i.inline {
			list = append(list, i)
		}
	}
	end, begin := start, 0
	for _, to := range s.groups(len(list), func(k int) (string, int64) {
		return path.Base(list[k].path), roundUp(list[k].size, blockSize)
	}) {
		next := end
		for _, i := range list[begin:to] {
			i.block = next
			next += blocks(i.size)
		}
		l.groups = append(l.groups, group{start: end * blockSize, bytes: (next - end) * blockSize, inodes: list[begin:to]})
		end += room(next-end, s.step)
		begin = to
	}
	if end > math.MaxUint32 {
		return errors.New("more than 16 TiB of contents")
	}
	last := l.groups[len(l.groups)-1]
	l.size = last.start + last.bytes
	return nil
}

// encode makes the metadata, up to end bytes.
func (l *layout) encode(end int64) {
	l.meta = make([]byte, min(end, l.size))
	for _, i := range l.inodes {
		p := l.meta[blockSize+i.nid*nidSize:]
		i.encode(p, l.epoch)
		switch {
		case !i.inline:
		case i.node.IsDir():
			copy(p[i.head():], i.dirents())
		default:
			copy(p[i.head():], i.node.Target)
		}
	}
	le, super := binary.LittleEndian, l.meta[superAt:]
	le.PutUint32(super, superMagic)
	super[12] = blockBits
	le.PutUint16(super[14:], uint16(l.inodes[0].nid))
	le.PutUint64(super[16:], uint64(len(l.inodes)))
	le.PutUint64(super[24:], uint64(l.epoch.Unix()))
	le.PutUint32(super[32:], uint32(l.epoch.Nanosecond()))
	le.PutUint32(super[36:], uint32(l.size/blockSize))
	le.PutUint32(super[40:], 1) // first block of the metadata
	// UUID version 8 (RFC 9562, section 5.8): 122 bits of our own choice. It follows from the metadata.
	sum := sha256.Sum256(l.meta)
	uuid := sum[:16]
	uuid[6], uuid[8] = uuid[6]&0x0f|0x80, uuid[8]&0x3f|0x80
	copy(super[48:], uuid)
}
