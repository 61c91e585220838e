package state

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"
)

// The state has 64 mids of 64 leaves each.
const (
	Fanout    = 64
	LeafCount = Fanout * Fanout
)

// tree is the Merkle tree over all records, tombstones and audit entries among them. A record falls into a leaf by the
// first 12 bits of the SHA-256 of its key. A leaf is the SHA-256 of its records' hashes in ascending order, a mid that
// of its leaves, the root that of the mids. What changed is hashed again when somebody asks.
type tree struct {
	buckets [LeafCount][]Stamp // in no order
	leaves  [LeafCount]Hash
	mids    [Fanout]Hash
	root    Hash
	dirty   [Fanout]uint64 // a bit for each leaf of a mid
	changed bool           // some bit of dirty is set
	count   int
}

func newTree() *tree {
	t := &tree{changed: true}
	for i := range t.dirty {
		t.dirty[i] = ^uint64(0)
	}
	return t
}

// LeafOf is the leaf that a key falls into.
func LeafOf(k Key) int {
	sum := sha256.Sum256([]byte(k.String()))
	return int(binary.BigEndian.Uint16(sum[:]) >> 4)
}

func (t *tree) find(k Key) (leaf, at int) {
	leaf = LeafOf(k)
	return leaf, slices.IndexFunc(t.buckets[leaf], func(s Stamp) bool { return s.Key == k })
}

func (t *tree) get(k Key) (Stamp, bool) {
	leaf, at := t.find(k)
	if at < 0 {
		return Stamp{}, false
	}
	return t.buckets[leaf][at], true
}

func (t *tree) set(s Stamp) {
	leaf, at := t.find(s.Key)
	if at < 0 {
		t.buckets[leaf] = append(t.buckets[leaf], s)
		t.count++
	} else {
		t.buckets[leaf][at] = s
	}
	t.touch(leaf)
}

func (t *tree) remove(k Key) {
	leaf, at := t.find(k)
	if at < 0 {
		return
	}
	t.buckets[leaf] = slices.Delete(t.buckets[leaf], at, at+1)
	t.count--
	t.touch(leaf)
}

func (t *tree) touch(leaf int) {
	t.dirty[leaf/Fanout] |= 1 << (leaf % Fanout)
	t.changed = true
}

// settle brings the hashes up to date.
func (t *tree) settle() {
	if !t.changed {
		return
	}
	for mid := range t.dirty {
		if t.dirty[mid] == 0 {
			continue
		}
		for i := range Fanout {
			if t.dirty[mid]&(1<<i) != 0 {
				t.leaves[mid*Fanout+i] = leafHash(t.buckets[mid*Fanout+i])
			}
		}
		t.dirty[mid] = 0
		t.mids[mid] = hashAll(t.leaves[mid*Fanout : (mid+1)*Fanout])
	}
	t.root = hashAll(t.mids[:])
	t.changed = false
}

func leafHash(stamps []Stamp) Hash {
	hashes := make([]Hash, len(stamps))
	for i, s := range stamps {
		hashes[i] = s.Hash
	}
	slices.SortFunc(hashes, Hash.Compare)
	return hashAll(hashes)
}

func hashAll(hashes []Hash) (sum Hash) {
	h := sha256.New()
	for i := range hashes {
		h.Write(hashes[i][:])
	}
	h.Sum(sum[:0])
	return sum
}

func sortStamps(stamps []Stamp) {
	slices.SortFunc(stamps, func(a, b Stamp) int { return strings.Compare(a.Key.String(), b.Key.String()) })
}
