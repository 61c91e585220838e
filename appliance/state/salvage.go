package state

import (
	"encoding/binary"
	"maps"
	"slices"
)

// salvage finds every whole record in a damaged file, wherever it lies: it looks at all pages, in use or not, and
// trusts nothing but the records' own checksums. Of several versions of a key the latest wins, so what pages that are
// no longer in use still hold does no harm; where the page with the latest was the damaged one, an older version is
// better than none.
func salvage(data []byte) []Record {
	best := map[Key]Record{}
	pageSize := uint64(4096)
	if metas := metaOffsets(data); len(metas) > 0 {
		pageSize = uint64(binary.LittleEndian.Uint32(data[metas[0]+pageHeader+8:]))
	}
	for at := uint64(0); at+pageSize <= uint64(len(data)); at += pageSize {
		p, flags, err := pageAt(data[at:], pageSize)
		if flags != flagLeaf {
			continue
		}
		if err != nil {
			p.data = data[at:]
		}
		salvagePage(p, best)
	}
	return slices.Collect(maps.Values(best))
}

func salvagePage(p boltPage, best map[Key]Record) {
	for i := range p.count {
		flags, key, value, err := p.element(i)
		if err != nil {
			continue
		}
		if flags&1 != 0 && len(value) > 16+pageHeader && binary.LittleEndian.Uint64(value) == 0 {
			inline := value[16:]
			salvagePage(boltPage{count: int(binary.LittleEndian.Uint16(inline[10:])), data: inline}, best)
			continue
		}
		k, err := ParseKey(string(key))
		if err != nil {
			continue
		}
		r, err := DecodeRecord(k, value)
		if err != nil {
			continue
		}
		if old, ok := best[k]; ok {
			r = Merge(old, r)
		}
		best[k] = r
	}
}
