package state

import (
	"cmp"
	"fmt"
)

// Version orders the writes of a cluster. The zero Version is that of a key that was never written.
type Version struct {
	Epoch uint64 `json:"epoch"` // of the owner under whom it was written
	HLC   HLC    `json:"hlc"`
	Head  string `json:"head"` // breaks the tie, and says who wrote
}

// Compare orders by epoch first, so that a stale owner with a fast clock loses, then by clock, then by head.
func (v Version) Compare(w Version) int {
	return cmp.Or(cmp.Compare(v.Epoch, w.Epoch), cmp.Compare(v.HLC, w.HLC), cmp.Compare(v.Head, w.Head))
}

// IsZero reports whether v is the version of a key that was never written.
func (v Version) IsZero() bool { return v == Version{} }

func (v Version) String() string {
	if v.IsZero() {
		return "never"
	}
	return fmt.Sprintf("%d.%016x.%s", v.Epoch, uint64(v.HLC), v.Head)
}
