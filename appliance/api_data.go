package appliance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"masthead/node/wire"
)

func (a *api) data(ctx context.Context, _ caller, _ *http.Request) (any, error) {
	return a.head.allData(ctx)
}

// ownData are the copies of this head.
func (h *Head) ownData(ctx context.Context) ([]wire.DataVolume, error) {
	all, err := h.owner.OwnData(ctx)
	if err != nil {
		return nil, h.ownerGone(err)
	}
	return all, nil
}

// allData are the copies of all heads, this one's first. A head that does not answer has a line that says so.
func (h *Head) allData(ctx context.Context) ([]wire.DataVolume, error) {
	all, err := h.ownData(ctx)
	if err != nil {
		return nil, err
	}
	doc, err := h.document()
	if err != nil || len(doc.Data) == 0 {
		return all, err
	}
	for _, name := range h.headNames() {
		if name == h.cfg.Name {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, ownerWait)
		there, err := askPeer[[]wire.DataVolume](ctx, h, name, http.MethodGet, wire.PathPeerOwner+"/data", nil)
		cancel()
		if err != nil {
			for _, v := range doc.Data {
				all = append(all, wire.DataVolume{Name: v.Name, Head: name, State: "unknown", Role: wire.RoleUnknown, Trouble: "the head does not answer"})
			}
			continue
		}
		all = append(all, there...)
	}
	return all, nil
}

// inUse says where a volume is in use, or may be; empty: nowhere. Only the owner of the cluster has volumes in use, so it alone must
// have answered; where nobody knows who that is, all heads with copies. Pure.
func inUse(volume, owner string, copies []string, all []wire.DataVolume) string {
	try, unsaid := "masthead status --why", map[string]string{}
	if owner != "" {
		try = "masthead data status"
	}
	for _, head := range copies {
		if owner == "" || head == owner {
			unsaid[head] = "its daemon has not heard of it yet"
		}
	}
	for _, v := range all {
		switch _, asked := unsaid[v.Head]; {
		case v.Name != volume:
		case v.Role == "Primary":
			return fmt.Sprintf("volume %s is in use on %s: stop what uses it first (masthead service disable)", volume, v.Head)
		case v.Role != wire.RoleUnknown:
			delete(unsaid, v.Head)
		case asked:
			unsaid[v.Head] = cmp.Or(v.Doing, v.Trouble)
		}
	}
	heads := slices.Sorted(maps.Keys(unsaid))
	if len(heads) == 0 {
		return ""
	}
	return fmt.Sprintf("nobody knows whether volume %s is in use on %s: %s: again in a moment (%s)", volume, heads[0], unsaid[heads[0]], try)
}

// changeOwnData has the daemon of this head do something to its copy.
func (h *Head) changeOwnData(ctx context.Context, volume string, req wire.DataChange) (wire.DataChanged, error) {
	out, err := h.owner.ChangeOwnData(ctx, volume, req)
	if err != nil {
		return out, h.ownerGone(err)
	}
	return out, nil
}

// changeDataAt is changeOwnData on any head.
func (h *Head) changeDataAt(ctx context.Context, head, volume string, req wire.DataChange) (wire.DataChanged, error) {
	if head == h.cfg.Name {
		return h.changeOwnData(ctx, volume, req)
	}
	out, err := askPeer[wire.DataChanged](ctx, h, head, http.MethodPost, wire.PathPeerOwner+"/data/"+url.PathEscape(volume), req)
	var p *wire.ProblemError
	if errors.As(err, &p) {
		return out, &problem{p.Status, p.Detail, p.Try()}
	} else if err != nil {
		return out, &problem{http.StatusBadGateway, fmt.Sprintf("%s does not answer: %v", head, err), "masthead head list"}
	}
	return out, nil
}

func (a *api) changeData(ctx context.Context, c caller, r *http.Request) (any, error) {
	req, err := decode[wire.DataChange](r)
	if err != nil {
		return nil, err
	}
	h, volume := a.head, r.PathValue("volume")
	if !req.DryRun {
		h.note(ctx, c, fmt.Sprintf("data %s: %s %s", volume, req.Action, req.Keep))
	}
	all, err := h.allData(ctx)
	if err != nil {
		return nil, err
	}
	var copies []wire.DataVolume
	for _, v := range all {
		if v.Name == volume {
			copies = append(copies, v)
		}
	}
	if len(copies) == 0 {
		return nil, &problem{http.StatusNotFound, fmt.Sprintf("there is no volume %q", volume), "masthead data status"}
	}
	steps, err := dataSteps(copies, req)
	if err != nil {
		return nil, err
	}
	out := wire.DataChanged{Volume: volume}
	for _, s := range steps {
		done, err := h.changeDataAt(ctx, s.head, volume, wire.DataChange{Action: s.action, DryRun: req.DryRun})
		if err != nil {
			return nil, err
		}
		out.Does, out.Applied = append(out.Does, done.Does...), done.Applied
	}
	return out, nil
}

// dataStep is one thing that one head is to do.
type dataStep struct{ head, action string }

// dataSteps says which heads have to do what.
func dataSteps(copies []wire.DataVolume, req wire.DataChange) ([]dataStep, error) {
	var heads []string
	writer := copies[0].Head
	for _, v := range copies {
		heads = append(heads, v.Head)
		if v.Role == "Primary" {
			writer = v.Head
		}
	}
	switch req.Action {
	case "create", "verify":
		return []dataStep{{writer, req.Action}}, nil
	case "connect":
		var all []dataStep
		for _, head := range heads {
			all = append(all, dataStep{head, req.Action})
		}
		return all, nil
	case "resolve":
	default:
		return nil, &problem{http.StatusBadRequest, fmt.Sprintf("action %q: want create, connect, verify or resolve", req.Action), "masthead data --help"}
	}
	if !slices.Contains(heads, req.Keep) {
		return nil, &problem{http.StatusBadRequest, fmt.Sprintf("%q has no copy of it", req.Keep), "masthead data status"}
	}
	if !slices.ContainsFunc(copies, func(v wire.DataVolume) bool { return v.State == "diverged" }) {
		return nil, &problem{http.StatusConflict, "the copies have not diverged", "masthead data status"}
	}
	var all []dataStep
	for _, head := range heads {
		if head != req.Keep {
			all = append(all, dataStep{head, "discard"})
		}
	}
	return append(all, dataStep{req.Keep, "keep"}), nil
}
