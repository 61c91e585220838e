package gossip

import (
	"context"
	"errors"
	"fmt"
	"time"

	"masthead/appliance/state"
)

// syncTries is how often Sync begins again after a call that failed; what was fetched is not fetched again.
const syncTries = 5

// Sync takes over everything that a head has, and notes that this one is complete then: for a head that joins, or whose
// file was damaged. progress hears how many of about how many records are here; it may be nil. It works before Run.
func (r *Replica) Sync(ctx context.Context, head string, progress func(done, total int)) error {
	r.refresh()
	p, err := r.peer(head)
	if err != nil {
		return err
	}
	r.probe(ctx, p) // a clock that was set may be used once another head agrees
	var w walked
	for try := range syncTries {
		if try > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(r.conf.Timing.RetryMax):
			}
		}
		w, err = r.walk(ctx, p, progress)
		if err == nil || errors.Is(err, errProtocol) {
			break
		}
	}
	switch {
	case err != nil:
		return fmt.Errorf("gossip: take over the state of %s: %w", head, err)
	case w.refused > 0:
		return &skewError{head, w.refused}
	case !w.theirs.Complete:
		return fmt.Errorf("gossip: take over the state of %s: it is being rebuilt itself", head)
	}
	r.poke()
	return r.db.SetComplete()
}

// skewError is a Sync that could not take everything.
type skewError struct {
	head    string
	records int
}

func (e *skewError) Error() string {
	return fmt.Sprintf("%d records of %s are from more than %v after the time that this machine's clock shows", e.records, e.head, state.MaxSkew)
}

// Try says what helps.
func (e *skewError) Try() string {
	return "set this machine's clock: `chronyc makestep`, or `date -s TIME`"
}
