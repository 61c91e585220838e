package ownership

import (
	"context"
	"net/http"
	"time"

	"masthead/node/wire"
)

// askDataWait is how long one question of DRBD's handler waits for its answer; it asks again.
const askDataWait = 5 * time.Second

func noData() error {
	return &problem{http.StatusNotFound, "this head has no replicated data", "masthead cluster edit"}
}

func (d *Daemon) serveData(*http.Request) (any, error) {
	all := []wire.DataVolume{}
	if s := d.parts.dataNow.Load(); s != nil {
		all = append(all, s.Volumes()...)
	}
	return all, nil
}

// serveDataAsk answers DRBD. It does not go through the daemon's loop, which may wait for a disk.
func (d *Daemon) serveDataAsk(r *http.Request) (any, error) {
	q, err := read[wire.DataAsk](r)
	if err != nil {
		return nil, err
	}
	s := d.parts.dataNow.Load()
	if s == nil {
		return nil, noData()
	}
	if q.Handler != "fence-peer" {
		return wire.DataAnswer{}, s.Tell(q.Handler, q.Resource)
	}
	ctx, cancel := context.WithTimeout(r.Context(), askDataWait)
	defer cancel()
	code, why, err := s.Ask(ctx, q.Resource)
	if err != nil {
		return nil, &problem{http.StatusNotFound, err.Error(), ""}
	}
	return wire.DataAnswer{Code: code, Why: why, Again: ctx.Err() != nil}, nil
}

func (d *Daemon) serveDataChange(r *http.Request) (any, error) {
	change, err := read[wire.DataChange](r)
	if err != nil {
		return nil, err
	}
	s := d.parts.dataNow.Load()
	if s == nil {
		return nil, noData()
	}
	volume := r.PathValue("volume")
	does, err := s.Change(r.Context(), volume, change.Action, change.DryRun)
	if err != nil {
		return nil, dataProblem(err)
	}
	return wire.DataChanged{Volume: volume, Does: []string{s.Self() + ": " + does}, Applied: !change.DryRun}, nil
}
