package iso

import (
	"encoding/binary"
	"time"
)

// Flags of a directory record (ECMA-119 9.1.6).
const (
	flagDirectory   = 0x02
	flagMultiExtent = 0x80 // this record is not the last of the file
)

// records are the directory records of a directory: itself, its parent, and
// each child once per extent. None crosses a sector, as ECMA-119 6.8.1.1 wants.
// susp is the sector of the continuation area that the root's first record
// refers to.
func (n *node) records(at time.Time, susp uint32) []byte {
	var b []byte
	add := func(r []byte) {
		if left := sectorSize - len(b)%sectorSize; len(r) > left {
			b = append(b, make([]byte, left)...)
		}
		b = append(b, r...)
	}
	self := px(n)
	if n.parent == n {
		self = append(append(sp(), self...), ce(susp, len(extensionReference))...)
	}
	add(record("\x00", flagDirectory, n.extent(), at, self))
	add(record("\x01", flagDirectory, n.parent.extent(), at, px(n.parent)))
	for _, c := range n.children {
		if c.dir {
			add(record(c.iso.identifier(true), flagDirectory, c.extent(), at, append(px(c), nm(c.name)...)))
			continue
		}
		extents := c.extents
		if len(extents) == 0 {
			extents = []extent{{}} // an empty file
		}
		for i, e := range extents {
			flags := byte(flagMultiExtent)
			if i == len(extents)-1 {
				flags = 0
			}
			add(record(c.iso.identifier(false), flags, e, at, append(px(c), nm(c.name)...)))
		}
	}
	return append(b, make([]byte, -len(b)&(sectorSize-1))...)
}

func (n *node) extent() extent {
	if len(n.extents) == 0 {
		return extent{}
	}
	return n.extents[0]
}

// record is one directory record (ECMA-119 9.1) with system use entries.
func record(identifier string, flags byte, e extent, at time.Time, systemUse []byte) []byte {
	pad := 1 - len(identifier)%2
	b := make([]byte, 33, 255)
	b = append(b, identifier...)
	b = append(b, make([]byte, pad)...)
	b = append(b, systemUse...)
	b = append(b, make([]byte, len(b)%2)...)
	b[0] = byte(len(b))
	putBoth32(b[2:], e.lba)
	putBoth32(b[10:], e.size)
	at = at.UTC()
	copy(b[18:], []byte{
		byte(at.Year() - 1900), byte(at.Month()), byte(at.Day()),
		byte(at.Hour()), byte(at.Minute()), byte(at.Second()), 0,
	})
	b[25] = flags
	putBoth16(b[28:], 1) // volume sequence number
	b[32] = byte(len(identifier))
	return b
}

// pathTable encodes the directories in the given byte order (ECMA-119 9.4).
func pathTable(dirs []*node, order binary.AppendByteOrder) []byte {
	var b []byte
	for _, d := range dirs {
		id := d.iso.identifier(true)
		if d.parent == d {
			id = "\x00"
		}
		b = append(b, byte(len(id)), 0)
		b = order.AppendUint32(b, d.extent().lba)
		b = order.AppendUint16(b, uint16(d.parent.number))
		b = append(b, id...)
		b = append(b, make([]byte, len(id)%2)...)
	}
	return b
}

// putBoth32 writes a number in both byte orders (ECMA-119 7.3.3).
func putBoth32(b []byte, n uint32) {
	binary.LittleEndian.PutUint32(b, n)
	binary.BigEndian.PutUint32(b[4:], n)
}

func putBoth16(b []byte, n uint16) {
	binary.LittleEndian.PutUint16(b, n)
	binary.BigEndian.PutUint16(b[2:], n)
}
