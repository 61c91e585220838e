package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
)

// A bbolt file, read without bbolt. bbolt trusts its pages: on a damaged one it panics, in part on a goroutine of its
// own where nobody can recover, or runs off the end of its memory map. So the file is checked here, completely, before
// bbolt gets to see it. The layout is that of bbolt's internal/common (page.go, meta.go, bucket.go), format version 2,
// little endian:
//
//	page     id 8, flags 2, count 2, overflow 4; overflow more pages follow it
//	meta     at 16: magic 4, version 4, page size 4, flags 4, root 16, freelist 8, high water 8, txid 8, FNV-1a 8
//	branch   elements of 16: pos 4 (from the element), key size 4, page 8
//	leaf     elements of 16: flags 4 (1: a bucket), pos 4 (from the element), key size 4, value size 4
//	bucket   value: root 8, sequence 8; root 0: the bucket is one leaf page that follows
const (
	boltMagic      = 0xED0CDAED
	boltVersion    = 2
	boltNoFreelist = ^uint64(0)

	pageHeader   = 16
	metaSize     = 64
	elementSize  = 16
	flagBranch   = 1
	flagLeaf     = 2
	flagFreelist = 16

	maxPageDepth = 32
)

// errDamaged is a file that cannot be trusted; the message says where.
var errDamaged = errors.New("damaged")

type boltFile struct {
	data     []byte
	pageSize uint64
	pages    uint64 // high-water mark
	root     uint64
	seen     map[uint64]bool
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errDamaged}, args...)...)
}

// walkBolt checks a whole file and gives every key and value of each top-level bucket to visit.
func walkBolt(data []byte, visit func(bucket string, key, value []byte) error) error {
	f, err := openBolt(data)
	if err != nil {
		return err
	}
	return f.walkPage(f.root, nil, nil, 0, func(flags uint32, key, value []byte) error {
		if flags&1 == 0 {
			return damaged("a value outside all buckets")
		}
		return f.walkBucket(value, func(_ uint32, k, v []byte) error { return visit(string(key), k, v) })
	})
}

// openBolt picks the newer of the two meta pages that is whole, as bbolt does: the other may be half written.
func openBolt(data []byte) (*boltFile, error) {
	var best []byte
	var txid uint64
	for _, at := range metaOffsets(data) {
		m := data[at+pageHeader : at+pageHeader+metaSize]
		if id := binary.LittleEndian.Uint64(m[48:]); best == nil || id > txid {
			best, txid = m, id
		}
	}
	if best == nil {
		return nil, damaged("neither meta page is whole")
	}
	f := &boltFile{
		data:     data,
		pageSize: uint64(binary.LittleEndian.Uint32(best[8:])),
		root:     binary.LittleEndian.Uint64(best[16:]),
		pages:    binary.LittleEndian.Uint64(best[40:]),
		seen:     map[uint64]bool{0: true, 1: true},
	}
	if f.pages > uint64(len(data))/f.pageSize {
		return nil, damaged("it ends after %d bytes and should have %d pages of %d", len(data), f.pages, f.pageSize)
	}
	// Our files have no free list on disk; only bbolt's first, empty one can be there.
	if free := binary.LittleEndian.Uint64(best[32:]); free != boltNoFreelist {
		p, err := f.page(free, flagFreelist)
		if err != nil {
			return nil, err
		}
		if p.count != 0 {
			return nil, damaged("page %d: a free list that this program did not write", free)
		}
	}
	return f, nil
}

// metaOffsets lists where a whole meta page is. The page size stands in the page itself; the second one is found by
// trying all sizes, should the first be gone.
func metaOffsets(data []byte) (found []uint64) {
	try := func(at, pageSize uint64) bool {
		if at+pageHeader+metaSize > uint64(len(data)) {
			return false
		}
		m := data[at+pageHeader : at+pageHeader+metaSize]
		sum := fnv.New64a()
		sum.Write(m[:metaSize-8])
		size := uint64(binary.LittleEndian.Uint32(m[8:]))
		return binary.LittleEndian.Uint32(m) == boltMagic && binary.LittleEndian.Uint32(m[4:]) == boltVersion &&
			binary.LittleEndian.Uint64(m[56:]) == sum.Sum64() && size >= 1<<10 && size <= 1<<16 && size&(size-1) == 0 &&
			(pageSize == 0 || size == pageSize)
	}
	if try(0, 0) {
		found = append(found, 0)
	}
	for size := uint64(1 << 10); size <= 1<<16; size <<= 1 {
		if try(size, size) {
			return append(found, size)
		}
	}
	return found
}

// boltPage is one page with what overflows it.
type boltPage struct {
	id    uint64
	count int
	data  []byte
}

func (f *boltFile) page(id uint64, flags uint16) (boltPage, error) {
	if id < 2 || id >= f.pages {
		return boltPage{}, damaged("page %d of %d is referred to", id, f.pages)
	}
	p, got, err := pageAt(f.data[id*f.pageSize:f.pages*f.pageSize], f.pageSize)
	if err != nil || p.id != id || got&flags != got || got&(got-1) != 0 || got == 0 {
		return boltPage{}, damaged("page %d: it says that it is page %d with flags %x", id, p.id, got)
	}
	for i := range uint64(len(p.data)) / f.pageSize {
		if f.seen[id+i] {
			return boltPage{}, damaged("page %d is in use twice", id+i)
		}
		f.seen[id+i] = true
	}
	return p, nil
}

// pageAt reads the page at the beginning of data.
func pageAt(data []byte, pageSize uint64) (p boltPage, flags uint16, err error) {
	flags = binary.LittleEndian.Uint16(data[8:])
	p = boltPage{id: binary.LittleEndian.Uint64(data), count: int(binary.LittleEndian.Uint16(data[10:]))}
	n := uint64(binary.LittleEndian.Uint32(data[12:])) + 1
	if n > uint64(len(data))/pageSize {
		return p, flags, damaged("page %d runs over the end", p.id)
	}
	p.data = data[:n*pageSize]
	return p, flags, nil
}

type visitElement func(flags uint32, key, value []byte) error

func (f *boltFile) walkBucket(value []byte, visit visitElement) error {
	if len(value) < pageHeader {
		return damaged("a bucket of %d bytes", len(value))
	}
	if root := binary.LittleEndian.Uint64(value); root != 0 {
		return f.walkPage(root, nil, nil, 0, visit)
	}
	inline := value[16:]
	if len(inline) < pageHeader || binary.LittleEndian.Uint16(inline[8:]) != flagLeaf {
		return damaged("an inline bucket of %d bytes", len(value))
	}
	p := boltPage{count: int(binary.LittleEndian.Uint16(inline[10:])), data: inline}
	return p.leaf(nil, nil, visit)
}

// walkPage visits a tree. Its keys lie from lo to before hi; nil is no bound.
func (f *boltFile) walkPage(id uint64, lo, hi []byte, depth int, visit visitElement) error {
	if depth > maxPageDepth {
		return damaged("page %d is too deep", id)
	}
	p, err := f.page(id, flagBranch|flagLeaf)
	if err != nil {
		return err
	}
	if binary.LittleEndian.Uint16(p.data[8:]) == flagLeaf {
		return p.leaf(lo, hi, visit)
	}
	if p.count == 0 {
		return damaged("page %d: an empty branch", id)
	}
	for i := range p.count {
		key, err := p.branchKey(i)
		if err != nil {
			return err
		}
		next := hi
		if i+1 < p.count {
			if next, err = p.branchKey(i + 1); err != nil {
				return err
			}
		}
		if bytes.Compare(key, lo) < 0 || (next != nil && bytes.Compare(key, next) >= 0) {
			return damaged("page %d: keys out of order", id)
		}
		at := pageHeader + i*elementSize
		if err := f.walkPage(binary.LittleEndian.Uint64(p.data[at+8:]), key, next, depth+1, visit); err != nil {
			return err
		}
	}
	return nil
}

func (p boltPage) branchKey(i int) ([]byte, error) {
	at := pageHeader + i*elementSize
	if at+elementSize > len(p.data) {
		return nil, damaged("page %d: element %d is outside it", p.id, i)
	}
	return p.slice(at, binary.LittleEndian.Uint32(p.data[at:]), binary.LittleEndian.Uint32(p.data[at+4:]))
}

// slice gives n bytes at pos from the element at at.
func (p boltPage) slice(at int, pos, n uint32) ([]byte, error) {
	from := uint64(at) + uint64(pos)
	if from+uint64(n) > uint64(len(p.data)) {
		return nil, damaged("page %d: %d bytes at %d are outside it", p.id, n, from)
	}
	return p.data[from : from+uint64(n)], nil
}

func (p boltPage) leaf(lo, hi []byte, visit visitElement) error {
	last := lo
	for i := range p.count {
		flags, key, value, err := p.element(i)
		if err != nil {
			return err
		}
		c := bytes.Compare(key, last)
		if len(key) == 0 || c < 0 || (c == 0 && i > 0) || (hi != nil && bytes.Compare(key, hi) >= 0) {
			return damaged("page %d: keys out of order", p.id)
		}
		last = key
		if err := visit(flags, key, value); err != nil {
			return err
		}
	}
	return nil
}

func (p boltPage) element(i int) (flags uint32, key, value []byte, err error) {
	at := pageHeader + i*elementSize
	if at+elementSize > len(p.data) {
		return 0, nil, nil, damaged("page %d: element %d is outside it", p.id, i)
	}
	e := p.data[at:]
	flags = binary.LittleEndian.Uint32(e)
	pos, ksize, vsize := binary.LittleEndian.Uint32(e[4:]), binary.LittleEndian.Uint32(e[8:]), binary.LittleEndian.Uint32(e[12:])
	if key, err = p.slice(at, pos, ksize); err != nil {
		return 0, nil, nil, err
	}
	if pos > pos+ksize {
		return 0, nil, nil, damaged("page %d: element %d overflows", p.id, i)
	}
	value, err = p.slice(at, pos+ksize, vsize)
	return flags, key, value, err
}
