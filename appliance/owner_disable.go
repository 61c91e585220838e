package appliance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"masthead/appliance/ownership"
	wanted "masthead/appliance/service"
	"masthead/appliance/state"
	"masthead/node/wire"
)

// givenUp are the services that `recovery: disable` has disabled on this head, by name, and that are not disabled in the
// cluster yet.
type givenUp map[string]*failedService

type failedService struct {
	reason string
	wished time.Time // when somebody had last said something of it; who says something later is obeyed
	told   string    // why it could not be written
}

// note takes in what the daemon says. What was noted before stays, whatever becomes of the daemon.
func (g givenUp) note(all []wire.ServiceState) {
	for _, s := range all {
		if s.GivenUp != "" && (g[s.Name] == nil || !g[s.Name].wished.Equal(s.Wished)) {
			g[s.Name] = &failedService{reason: s.GivenUp, wished: s.Wished}
		}
	}
}

// disableAll disables them in the cluster, so that the next owner does not start what has failed here. What cannot be written
// now is tried again, after the next events of the daemon or when there were none for a while.
func (h *Head) disableAll(ctx context.Context, given givenUp) {
	for _, name := range slices.Sorted(maps.Keys(given)) {
		f := given[name]
		done, err := h.disableFailed(ctx, name, f.wished)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if f.told != err.Error() {
				f.told = err.Error()
				h.event(fmt.Sprintf("service %s has failed, and could not be disabled in the cluster; it is tried again: %v", name, err), true)
			}
			continue
		case done:
			h.event(fmt.Sprintf("service %s is disabled in the cluster until somebody enables it: %s", name, f.reason), true)
		}
		delete(given, name)
	}
}

// disableFailed disables a service, unless somebody has said something of it since, or it is gone.
func (h *Head) disableFailed(ctx context.Context, name string, wished time.Time) (done bool, err error) {
	if err := h.mayChange(); err != nil {
		return false, err
	}
	doc, err := h.document()
	if err != nil {
		return false, err
	}
	if _, ok := serviceOf(doc, name); !ok {
		return false, nil
	}
	var now ownership.Wish
	rec, err := h.db.Get(state.Key{Kind: state.KindService, Name: name})
	switch {
	case errors.Is(err, state.ErrNotFound):
	case err != nil:
		return false, err
	default:
		if now, err = state.Decode[ownership.Wish](rec); err != nil {
			return false, err
		}
	}
	if !now.At.Equal(wished) {
		return false, nil
	}
	op, err := state.Put(state.KindService, name, ownership.Wish{Wish: wanted.Disabled, At: time.Now().UTC()})
	if err != nil {
		return false, err
	}
	if _, err := h.store().Apply(ctx, ownOrigin, op.At(rec.Version)); err != nil {
		return false, err // a conflict too: the next try sees what was said
	}
	return true, nil
}
