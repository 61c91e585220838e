package appliance

import (
	"context"
	"net/http"

	"masthead/node/wire"
)

// changeNodes changes all nodes of a set in one step: thousands of them cost one write.
func (a *api) changeNodes(ctx context.Context, c caller, r *http.Request) (any, error) {
	ch, err := decode[wire.NodeChange](r)
	if err != nil {
		return nil, err
	}
	names, err := a.selected(r)
	if err != nil {
		return nil, err
	}
	return a.head.reg.Set(ctx, c.origin(), names, ch)
}

func (a *api) removeNodes(ctx context.Context, c caller, r *http.Request) (any, error) {
	names, err := a.selected(r)
	if err != nil {
		return nil, err
	}
	return a.head.reg.Remove(ctx, c.origin(), names, r.URL.Query().Has("dry_run"))
}

// selected are the names of the nodes of a request's set. None is never what was meant, and without a set it would be
// all.
func (a *api) selected(r *http.Request) ([]string, error) {
	set := r.URL.Query().Get("set")
	if set == "" {
		return nil, &problem{http.StatusBadRequest, "no set of nodes is named", "?set=NODESET; all nodes are @all"}
	}
	nodes, err := a.head.reg.Brief(set, a.now())
	if err != nil {
		return nil, err
	}
	if len(nodes) == 0 {
		return nil, &problem{http.StatusNotFound, "no node matches " + set, "masthead node list"}
	}
	names := make([]string, 0, len(nodes))
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	return names, nil
}
