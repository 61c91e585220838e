package module

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// The index files of libkmod (libkmod/libkmod-index.c): a radix tree over 7-bit keys. All numbers are big endian.
//
//	magic 0xB007F457, version 2.1, offset of the root node
//	node: [prefix, 0] [first child's byte, last child's byte, offset of each child in between]
//	      [number of values; for each: priority, text, 0]
//
// The high bits of an offset say which parts the node has; offset 0 is no child. Children stand before their parent.
const (
	indexMagic   = 0xB007F457
	indexVersion = 2<<16 | 1

	nodePrefix   = 0x80000000
	nodeValues   = 0x40000000
	nodeChildren = 0x20000000

	maxKeyByte = 127
)

// entry is one line of an index: modprobe tries values of lower priority first.
type entry struct {
	key, value string
	priority   int
}

// writeIndex encodes entries. Keys or values that are not 7-bit text cannot be in an index and are left out, as libkmod
// could not look them up.
func writeIndex(entries []entry) []byte {
	entries = slices.DeleteFunc(slices.Clone(entries), func(e entry) bool { return !ascii(e.key) || !ascii(e.value) })
	// Among equal priorities depmod puts the newest first.
	slices.Reverse(entries)
	slices.SortStableFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.priority, b.priority))
	})
	out := binary.BigEndian.AppendUint32(nil, indexMagic)
	out = binary.BigEndian.AppendUint32(out, indexVersion)
	out = append(out, 0, 0, 0, 0)
	out, root := writeNode(out, entries, 0, true)
	binary.BigEndian.PutUint32(out[8:], root)
	return out
}

// writeNode writes the tree of entries, which are sorted and agree in their first depth bytes, and returns its offset.
// The root has no prefix, whatever its entries have in common.
func writeNode(out []byte, entries []entry, depth int, root bool) ([]byte, uint32) {
	var prefix string
	if len(entries) > 0 && !root {
		prefix = common(entries[0].key[depth:], entries[len(entries)-1].key[depth:])
	}
	depth += len(prefix)
	here := 0 // entries that end at this node come first
	for here < len(entries) && len(entries[here].key) == depth {
		here++
	}
	var first, last byte
	var children [maxKeyByte + 1]uint32
	below := entries[here:]
	if len(below) > 0 {
		first, last = below[0].key[depth], below[len(below)-1].key[depth]
	}
	for i := 0; i < len(below); {
		c := below[i].key[depth]
		j := i
		for j < len(below) && below[j].key[depth] == c {
			j++
		}
		out, children[c] = writeNode(out, below[i:j], depth+1, false)
		i = j
	}
	offset := uint32(len(out))
	if prefix != "" {
		offset |= nodePrefix
		out = append(append(out, prefix...), 0)
	}
	if len(below) > 0 {
		offset |= nodeChildren
		out = append(out, first, last)
		for _, child := range children[first : int(last)+1] {
			out = binary.BigEndian.AppendUint32(out, child)
		}
	}
	if here > 0 {
		offset |= nodeValues
		out = binary.BigEndian.AppendUint32(out, uint32(here))
		for _, e := range entries[:here] {
			out = binary.BigEndian.AppendUint32(out, uint32(e.priority))
			out = append(append(out, e.value...), 0)
		}
	}
	return out, offset
}

func common(a, b string) string {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return a[:n]
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] == 0 || s[i] > maxKeyByte {
			return false
		}
	}
	return true
}
