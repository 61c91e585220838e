package rootfs

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// A new version of a root should move only what changed. Two things see to that, whatever a file does: the chunks of the
// image begin and end where files do, and a file that grows or goes does not push the others about.
//
// So what stands in a row, contents or inodes, is cut into groups. Where a group ends follows from the names alone, so a
// file more or less changes its own group and no other. Each group has some room to grow; only where that is used up do
// the groups behind it move, and with them their addresses in the inodes. The room is zeros, which are stored nowhere.

// shape says how a row is cut.
type shape struct {
	least int64  // bytes: no group is smaller, unless a lone item ends it
	one   uint64 // in so many names may begin a group
	most  int64  // bytes: no group is larger, but for one of a lone item
	lone  int64  // bytes: an item as large is a group of its own
	step  int64  // blocks: the room of a group is a multiple of this
}

// groups gives the end of each group in a row of n items, as an index into it.
func (s shape) groups(n int, item func(i int) (name string, size int64)) []int {
	var ends []int
	var size int64 // of the group so far
	begin := 0
	for i := range n {
		name, bytes := item(i)
		if i > begin && (bytes >= s.lone || size >= s.lone && i == begin+1 || size+bytes > s.most ||
			size >= s.least && nameHash(name)%s.one == 0) {
			ends = append(ends, i)
			begin, size = i, 0
		}
		size += bytes
	}
	if n > begin {
		ends = append(ends, n)
	}
	return ends
}

// nameHash is the same for a name in every build. It is of the last part of a path alone, so that a directory whose name
// has a version in it is cut as before.
func nameHash(name string) uint64 {
	sum := sha256.Sum256([]byte(name))
	return binary.LittleEndian.Uint64(sum[:])
}

// room is the number of blocks that n blocks get: four sizes for each power of two.
func room(n, step int64) int64 {
	if n == 0 {
		return 0
	}
	return roundUp(n, max(step, 1<<max(0, bits.Len64(uint64(n))-3)))
}

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }

// blocks is the number of blocks that n bytes take.
func blocks(n int64) int64 { return (n + blockSize - 1) / blockSize }
