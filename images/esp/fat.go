package esp

import (
	"encoding/binary"
	"time"
)

const (
	entrySize  = 32
	mediaFixed = 0xf8

	attrLabel     = 0x08
	attrDirectory = 0x10
	attrArchive   = 0x20
)

// bootSector writes the BIOS parameter block. There is no code behind its jump:
// a BIOS never starts this partition.
func (g geometry) bootSector(b []byte, label [11]byte, serial uint32) {
	le := binary.LittleEndian
	copy(b, "\xeb\x3c\x90MASTHEAD")
	le.PutUint16(b[11:], sector)
	b[13] = byte(g.perCluster)
	le.PutUint16(b[14:], uint16(g.reserved))
	b[16] = 2 // FATs
	le.PutUint16(b[17:], rootEntries)
	if g.total < 1<<16 {
		le.PutUint16(b[19:], uint16(g.total))
	} else {
		le.PutUint32(b[32:], uint32(g.total))
	}
	b[21] = mediaFixed
	le.PutUint16(b[22:], uint16(g.fatSectors))
	le.PutUint16(b[24:], 63)  // sectors per track, nothing reads it
	le.PutUint16(b[26:], 255) // heads, likewise
	b[36] = 0x80              // drive number
	b[38] = 0x29              // the three fields that follow are there
	le.PutUint32(b[39:], serial)
	copy(b[43:], label[:])
	copy(b[54:], "FAT16   ")
	b[510], b[511] = 0x55, 0xaa
}

func putFAT(b []byte, fat []uint16) {
	for i, next := range fat {
		binary.LittleEndian.PutUint16(b[2*i:], next)
	}
}

// write puts the directory and all below it into the metadata.
func (n *node) write(head []byte, g geometry, label [11]byte, at dosTime) {
	if !n.dir {
		return
	}
	var b []byte
	if n.parent == nil {
		b = head[(g.dataStart-rootSectors)*sector:]
		b = putEntry(b, label, attrLabel, 0, 0, at)
	} else {
		b = head[g.dataStart*sector+(n.cluster-firstCluster)*g.clusterSize:]
		b = putEntry(b, [11]byte([]byte(".          ")), attrDirectory, n.cluster, 0, at)
		// The root is cluster 0 here, whatever it is elsewhere.
		b = putEntry(b, [11]byte([]byte("..         ")), attrDirectory, n.parent.cluster, 0, at)
	}
	for _, c := range n.children {
		if c.dir {
			b = putEntry(b, c.name, attrDirectory, c.cluster, 0, at)
			c.write(head, g, label, at)
		} else {
			b = putEntry(b, c.name, attrArchive, c.cluster, c.size, at)
		}
	}
}

func putEntry(b []byte, name [11]byte, attr byte, cluster, size int64, at dosTime) []byte {
	le := binary.LittleEndian
	copy(b, name[:])
	b[11] = attr
	if attr != attrLabel {
		le.PutUint16(b[14:], at.clock) // created
		le.PutUint16(b[16:], at.date)
		le.PutUint16(b[18:], at.date) // accessed
	}
	le.PutUint16(b[22:], at.clock) // written
	le.PutUint16(b[24:], at.date)
	le.PutUint16(b[26:], uint16(cluster))
	le.PutUint32(b[28:], uint32(size))
	return b[entrySize:]
}

// dosTime is a moment as FAT has it: in steps of two seconds, without a zone.
type dosTime struct{ date, clock uint16 }

// stamp takes UTC, since a zone would make the bytes depend on the place.
func stamp(t time.Time) dosTime {
	t = t.UTC()
	switch {
	case t.Year() < 1980:
		t = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	case t.Year() > 2107:
		t = time.Date(2107, 12, 31, 23, 59, 58, 0, time.UTC)
	}
	return dosTime{
		date:  uint16((t.Year()-1980)<<9 | int(t.Month())<<5 | t.Day()),
		clock: uint16(t.Hour()<<11 | t.Minute()<<5 | t.Second()/2),
	}
}
