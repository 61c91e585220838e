package appliance

import (
	"context"
	"strings"

	"masthead/appliance/failover"
	"masthead/appliance/state"
	"masthead/node/wire"
)

// maxHeads is as many heads as terms of ownership have numbers for; number 0 is nobody's.
const maxHeads = failover.MaxHeads - 1

// headNumber is the number of a head among the configured ones: the one that it has, unless one with more right to it has
// the same, else the lowest that is free. Two heads that were taken in at the same moment in two places may get one number
// between them; then the older one keeps it. Pure.
func headNumber(name string, heads map[string]wire.HeadRecord) int {
	own := heads[name]
	taken := map[int]bool{}
	mine := own.Number > 0
	for other, r := range heads {
		if other == name {
			continue
		}
		taken[r.Number] = true
		if r.Number == own.Number && older(other, r, name, own) {
			mine = false
		}
	}
	if mine {
		return own.Number
	}
	n := 1
	for taken[n] {
		n++
	}
	return n
}

// older orders heads by when they joined.
func older(a string, ra wire.HeadRecord, b string, rb wire.HeadRecord) bool {
	if c := ra.Joined.Compare(rb.Joined); c != 0 {
		return c < 0
	}
	return strings.Compare(a, b) < 0
}

// settleNumber gives this head another number if an older one has the same.
func (h *Head) settleNumber(ctx context.Context) error {
	heads := h.heads()
	own, ok := heads[h.cfg.Name]
	if n := headNumber(h.cfg.Name, heads); ok && n != own.Number {
		own.Number = n
		op, err := state.Put(state.KindHead, h.cfg.Name, own)
		if err == nil {
			_, err = h.store().Apply(ctx, ownOrigin, op)
		}
		return err
	}
	return nil
}
