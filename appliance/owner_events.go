package appliance

import (
	"context"
	"time"

	"masthead/node/wire"
)

// followOwner makes the daemon's events those of the cluster.
func (h *Head) followOwner(ctx context.Context) error {
	var last uint64
	given := givenUp{}
	for {
		events, err := h.owner.OwnerEvents(ctx, last)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			h.followStatus(ctx, given)
		}
		h.disableAll(ctx, given)
		if err != nil {
			if !timedOut(err) {
				last = 0 // it has ended; another one has numbers of its own
			}
			select {
			case <-time.After(ownerRetry):
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		for _, e := range events {
			last = e.Seq
			h.reg.Event(wire.Event{Time: e.Time, Kind: e.Kind, Text: e.Text, Failed: e.Bad})
		}
	}
}
