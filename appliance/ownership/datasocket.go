package ownership

import (
	"context"
	"errors"
	"net/http"
	"time"

	"masthead/appliance/data"
	"masthead/node/wire"
)

// askDataWait is how long one question of DRBD's handler waits for its answer; it asks again.
const askDataWait = 5 * time.Second

// onData answers what is asked of the data. f does not go through the daemon's loop, which may wait for a disk.
func (d *Daemon) onData(f func(r *http.Request, s *data.Set) (any, error)) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		s := d.parts.dataNow.Load()
		if s == nil {
			return nil, &problem{http.StatusNotFound, "this head has no replicated data", "masthead cluster edit"}
		}
		out, err := f(r, s)
		if err != nil {
			return nil, dataProblem(err)
		}
		return out, nil
	}
}

// onDataWith is the same for a request with a body.
func onDataWith[T any](d *Daemon, f func(r *http.Request, s *data.Set, body T) (any, error)) func(*http.Request) (any, error) {
	return d.onData(func(r *http.Request, s *data.Set) (any, error) {
		body, err := read[T](r)
		if err != nil {
			return nil, err
		}
		return f(r, s, body)
	})
}

// dataProblem is an error of the data as the API has it.
func dataProblem(err error) error {
	var refused *data.Refused
	switch {
	case errors.Is(err, data.ErrNoVolume):
		return &problem{http.StatusNotFound, err.Error(), "masthead data status"}
	case errors.Is(err, data.ErrNotHere):
		return &problem{http.StatusConflict, err.Error(), "masthead data status"}
	case errors.As(err, &refused):
		return &problem{http.StatusConflict, refused.Error(), refused.Try()}
	}
	return err
}

func (d *Daemon) serveData(*http.Request) (any, error) {
	all := []wire.DataVolume{}
	if s := d.parts.dataNow.Load(); s != nil {
		all = append(all, s.Volumes()...)
	}
	return all, nil
}

// serveDataAsk answers DRBD.
func serveDataAsk(r *http.Request, s *data.Set, q wire.DataAsk) (any, error) {
	if q.Handler != "fence-peer" {
		return wire.DataAnswer{}, s.Tell(r.Context(), q.Handler, q.Resource)
	}
	ctx, cancel := context.WithTimeout(r.Context(), askDataWait)
	defer cancel()
	code, why, err := s.Ask(ctx, q.Resource)
	if err != nil {
		return nil, &problem{http.StatusNotFound, err.Error(), ""}
	}
	return wire.DataAnswer{Code: code, Why: why, Again: ctx.Err() != nil}, nil
}

func serveDataChange(r *http.Request, s *data.Set, change wire.DataChange) (any, error) {
	volume := r.PathValue("volume")
	does, err := s.Change(r.Context(), volume, change.Action, change.DryRun)
	if err != nil {
		return nil, err
	}
	return wire.DataChanged{Volume: volume, Does: []string{s.Self() + ": " + does}, Applied: !change.DryRun}, nil
}
