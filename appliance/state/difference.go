package state

import (
	"maps"
	"slices"
	"strings"
)

// Diff is a key of which two states do not hold the same. What a side does not have is nil.
type Diff struct {
	Key          Key
	Ours, Theirs *Record
}

// Difference gives the keys that differ between two sets of records, in order. The version counts as well as the value.
func Difference(ours, theirs []Record) []Diff {
	diffs := map[Key]Diff{}
	for _, r := range ours {
		diffs[r.Key] = Diff{Key: r.Key, Ours: &r}
	}
	for _, r := range theirs {
		d := diffs[r.Key]
		if d.Ours != nil && d.Ours.Hash() == r.Hash() {
			delete(diffs, r.Key)
			continue
		}
		d.Key, d.Theirs = r.Key, &r
		diffs[r.Key] = d
	}
	return slices.SortedFunc(maps.Values(diffs), func(a, b Diff) int { return strings.Compare(a.Key.String(), b.Key.String()) })
}
