package appliance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"masthead/node/wire"
)

// Snapshots are made where the volume is mounted: at the owner.

func (a *api) snapshotRoutes() []route {
	return []route{
		{"GET " + wire.PathDataVolume + "{volume}" + wire.PathSnapshots, admin, "The snapshots of a volume", nil, []wire.DataSnapshot{}, a.snapshots, nil},
		{"POST " + wire.PathDataVolume + "{volume}" + wire.PathSnapshots, admin, "Make or remove a snapshot, or go back to one", wire.SnapshotChange{}, wire.SnapshotChanged{}, a.changeSnapshots, nil},
		{"GET " + wire.PathDataVolume + "{volume}" + wire.PathSnapshotDiff + "{snapshot}", admin, "What has changed since a snapshot", nil, wire.DataDifferences{}, a.snapshotDiff, nil},
	}
}

// snapshotPeerRoutes are what another head asks.
func (h *Head) snapshotPeerRoutes(serve func(func(*http.Request) (any, error)) http.Handler) []peerRoute {
	const base = wire.PathPeerOwner + "/data/{volume}"
	gone := func(out any, err error) (any, error) {
		if err != nil {
			return nil, h.ownerGone(err)
		}
		return out, nil
	}
	return []peerRoute{
		{"GET " + base + wire.PathSnapshots, serve(func(r *http.Request) (any, error) {
			return gone(h.owner.OwnSnapshots(r.Context(), r.PathValue("volume")))
		})},
		{"POST " + base + wire.PathSnapshots, serve(func(r *http.Request) (any, error) {
			req, err := decode[wire.SnapshotChange](r)
			if err != nil {
				return nil, err
			}
			return gone(h.owner.ChangeOwnSnapshots(r.Context(), r.PathValue("volume"), req))
		})},
		{"GET " + base + wire.PathSnapshotDiff + "{snapshot}", serve(func(r *http.Request) (any, error) {
			return gone(h.owner.OwnSnapshotDiff(r.Context(), r.PathValue("volume"), r.PathValue("snapshot")))
		})},
	}
}

// atOwner asks the owner's daemon, wherever it is.
func atOwner[T any](ctx context.Context, h *Head, method, path string, body any, here func() (T, error)) (any, error) {
	s, err := h.owner.Owner(ctx)
	if err != nil {
		return nil, h.ownerGone(err)
	}
	switch s.Owner {
	case "":
		return nil, &problem{http.StatusConflict, "nobody owns the cluster", "masthead status --why"}
	case h.cfg.Name:
		out, err := here()
		if err != nil {
			return nil, h.ownerGone(err)
		}
		return out, nil
	}
	out, err := askPeer[T](ctx, h, s.Owner, method, path, body)
	var p *wire.ProblemError
	if errors.As(err, &p) {
		return nil, &problem{p.Status, p.Detail, p.Try()}
	} else if err != nil {
		return nil, &problem{http.StatusBadGateway, fmt.Sprintf("%s does not answer: %v", s.Owner, err), "masthead status"}
	}
	return out, nil
}

func peerSnapshots(volume string) string {
	return wire.PathPeerOwner + "/data/" + url.PathEscape(volume) + wire.PathSnapshots
}

func (a *api) snapshots(ctx context.Context, _ caller, r *http.Request) (any, error) {
	volume := r.PathValue("volume")
	return atOwner(ctx, a.head, http.MethodGet, peerSnapshots(volume), nil, func() ([]wire.DataSnapshot, error) {
		return a.head.owner.OwnSnapshots(ctx, volume)
	})
}

func (a *api) changeSnapshots(ctx context.Context, c caller, r *http.Request) (any, error) {
	req, err := decode[wire.SnapshotChange](r)
	if err != nil {
		return nil, err
	}
	volume := r.PathValue("volume")
	if !req.DryRun {
		a.head.note(ctx, c, fmt.Sprintf("snapshot of %s: %s %s", volume, req.Action, req.Name))
	}
	return atOwner(ctx, a.head, http.MethodPost, peerSnapshots(volume), req, func() (wire.SnapshotChanged, error) {
		return a.head.owner.ChangeOwnSnapshots(ctx, volume, req)
	})
}

func (a *api) snapshotDiff(ctx context.Context, _ caller, r *http.Request) (any, error) {
	volume, name := r.PathValue("volume"), r.PathValue("snapshot")
	return atOwner(ctx, a.head, http.MethodGet, peerSnapshots(volume)+"/"+url.PathEscape(name), nil, func() (wire.DataDifferences, error) {
		return a.head.owner.OwnSnapshotDiff(ctx, volume, name)
	})
}
