package rootfs

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

// Offsets and sizes of EROFS's on-disk form (kernel, fs/erofs/erofs_fs.h).
const (
	blockSize   = 4096
	superOffset = 1024
	superMagic  = 0xe0f5e1e2

	superRootNid  = superOffset + 14 // 16 bits
	superInos     = superOffset + 16 // 64 bits
	superMetaBlk  = superOffset + 40 // 32 bits
	superUUID     = superOffset + 48 // 16 bytes
	nidSize       = 32               // an inode's number counts these from the first metadata block
	inodeCompact  = 32               // bytes
	inodeExtended = 64
	direntSize    = 12
	direntType    = 10 // offset of the type, 8 bits

	layoutPlain  = 0 // data in blocks of its own
	layoutInline = 2 // data behind the inode
)

// finishImage does what go-erofs cannot to an image of size bytes that it wrote from tree: it makes the further names of
// a node entries for the one inode, and gives the file system a UUID that follows from its metadata. The inodes that
// further names had are left behind, 32 bytes each, with no name.
func finishImage(f *os.File, size int64, tree *Tree, links links) error {
	super := make([]byte, blockSize)
	if _, err := f.ReadAt(super, 0); err != nil {
		return err
	}
	le := binary.LittleEndian
	if le.Uint32(super[superOffset:]) != superMagic {
		return errors.New("no EROFS superblock")
	}
	im := &image{f: f, start: int64(le.Uint32(super[superMetaBlk:])) * blockSize, links: links, nids: map[*Node]direntRef{}}
	im.meta = make([]byte, size-im.start)
	if _, err := f.ReadAt(im.meta, im.start); err != nil {
		return fmt.Errorf("read the image's metadata: %w", err)
	}
	if len(links) > 0 {
		if err := im.relink(uint64(le.Uint16(super[superRootNid:])), tree.root); err != nil {
			return err
		}
		le.PutUint64(super[superInos:], le.Uint64(super[superInos:])-im.orphans)
		if _, err := f.WriteAt(im.meta, im.start); err != nil {
			return err
		}
	}
	// UUID version 8 (RFC 9562, section 5.8): 122 bits of our own choice.
	sum := sha256.Sum256(im.meta)
	uuid := sum[:16]
	uuid[6], uuid[8] = uuid[6]&0x0f|0x80, uuid[8]&0x3f|0x80
	copy(super[superUUID:], uuid)
	_, err := f.WriteAt(super, 0)
	return err
}

// image is a written image whose metadata is in memory.
type image struct {
	f       *os.File
	start   int64 // of the metadata, which reaches to the end
	meta    []byte
	links   links
	nids    map[*Node]direntRef // of the nodes with several names, once the first was met
	orphans uint64
}

// direntRef is the part of a directory entry that says which file it is.
type direntRef struct {
	nid      uint64
	fileType uint8
}

// relink goes through the directory with inode number nid, which was written from dir, in the order of the tree: that
// of the first name of a node comes before the others.
func (im *image) relink(nid uint64, dir *Node) error {
	data, off, err := im.directory(nid)
	if err != nil {
		return err
	}
	for b := 0; b < len(data); b += blockSize {
		block := data[b:min(b+blockSize, len(data))]
		changed, err := im.relinkBlock(block, dir)
		if err != nil {
			return err
		}
		if !changed || off < 0 { // what is inline was changed in im.meta itself
			continue
		}
		if _, err := im.f.WriteAt(block, off+int64(b)); err != nil {
			return err
		}
	}
	return nil
}

func (im *image) relinkBlock(block []byte, dir *Node) (changed bool, err error) {
	le := binary.LittleEndian
	if len(block) < direntSize {
		return false, errors.New("directory block without an entry")
	}
	names := int(le.Uint16(block[8:])) // offset of the first name: where the entries end
	if names < direntSize || names > len(block) {
		return false, fmt.Errorf("directory block whose names begin at %d", names)
	}
	for e := 0; e+direntSize <= names; e += direntSize {
		entry := block[e : e+direntSize]
		from, to := int(le.Uint16(entry[8:])), len(block)
		if e+2*direntSize <= names {
			to = int(le.Uint16(block[e+direntSize+8:]))
		}
		if from > to || to > len(block) {
			return false, fmt.Errorf("directory entry whose name is at %d to %d", from, to)
		}
		name := string(bytes.TrimRight(block[from:to], "\x00"))
		if name == "." || name == ".." {
			continue
		}
		child := dir.entries[name]
		if child == nil {
			return false, fmt.Errorf("directory entry %q that is not in the tree", name)
		}
		if child.IsDir() {
			if err := im.relink(le.Uint64(entry), child); err != nil {
				return false, fmt.Errorf("%s: %w", name, err)
			}
			continue
		}
		if im.links[child] == nil {
			continue
		}
		first, met := im.nids[child]
		if !met {
			im.nids[child] = direntRef{le.Uint64(entry), entry[direntType]}
			continue
		}
		le.PutUint64(entry, first.nid)
		entry[direntType] = first.fileType
		im.orphans++
		changed = true
	}
	return changed, nil
}

// directory gives the data of the directory with inode number nid, and its offset in the file if it is not in im.meta.
func (im *image) directory(nid uint64) (data []byte, off int64, err error) {
	le := binary.LittleEndian
	if nid > uint64(len(im.meta)-inodeCompact)/nidSize {
		return nil, 0, fmt.Errorf("inode %d outside the metadata", nid)
	}
	at := int(nid) * nidSize
	inode := im.meta[at:]
	format := le.Uint16(inode)
	size, head := int(le.Uint32(inode[8:])), inodeCompact
	if format&1 != 0 {
		head = inodeExtended
	}
	if n := int(le.Uint16(inode[2:])); n > 0 { // erofs_xattr_ibody_size
		head += 12 + (n-1)*4
	}
	switch layout := format >> 1 & 7; {
	case layout == layoutInline && at+head+size <= len(im.meta):
		return im.meta[at+head : at+head+size], -1, nil
	case layout == layoutPlain:
		data = make([]byte, size)
		off = int64(le.Uint32(inode[16:])) * blockSize
		if _, err := im.f.ReadAt(data, off); err != nil {
			return nil, 0, fmt.Errorf("read directory at %d: %w", off, err)
		}
		return data, off, nil
	default:
		return nil, 0, fmt.Errorf("inode %d: a directory of %d bytes with layout %d", nid, size, layout)
	}
}
