package appliance

import (
	"context"
	"net/http"

	"masthead/appliance/nodeset"
	"masthead/node/wire"
)

// changeNodes changes all nodes of a set in one step: thousands of them cost one write.
func (a *api) changeNodes(ctx context.Context, c caller, r *http.Request) (any, error) {
	ch, err := decode[wire.NodeChange](r)
	if err != nil {
		return nil, err
	}
	names, note, err := a.selected(r)
	if err != nil {
		return nil, err
	}
	if err := a.head.reg.HeadsKeepIdentity(names, ch); err != nil {
		return nil, err
	}
	return noted(note)(a.head.reg.Set(ctx, c.origin(), names, ch))
}

func (a *api) removeNodes(ctx context.Context, c caller, r *http.Request) (any, error) {
	names, note, err := a.selected(r)
	if err != nil {
		return nil, err
	}
	if err := a.head.reg.HeadsStay(names); err != nil {
		return nil, err
	}
	return noted(note)(a.head.reg.Remove(ctx, c.origin(), names, r.URL.Query().Has("dry_run")))
}

// noted adds to a change of a set what is to be said of the set.
func noted(note string) func(all []wire.Changed, err error) (any, error) {
	return func(all []wire.Changed, err error) (any, error) {
		for i := range all {
			all[i].Note = note
		}
		return all, err
	}
}

// selected are the names of the nodes of a request's set, and what is to be said of it. None is never what was meant,
// and without a set it would be all.
func (a *api) selected(r *http.Request) (names []string, note string, err error) {
	set := r.URL.Query().Get("set")
	if set == "" {
		return nil, "", &problem{http.StatusBadRequest, "no set of nodes is named", "?set=NODESET; all nodes are @all"}
	}
	nodes, err := a.head.reg.Brief(set, a.now())
	if err == nil {
		nodes, note, err = a.meant(set, nodes)
	}
	if err != nil {
		return nil, "", err
	}
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	return names, note, nil
}

// meant are those nodes of a set that something is to be done to, at least one: heads only where the set asks for them.
// note says which were left out.
func (a *api) meant(set string, nodes []wire.Node) (meant []wire.Node, note string, err error) {
	meant, left, err := a.head.reg.LeaveOutHeads(set, nodes)
	if err != nil {
		return nil, "", err
	}
	if len(left) > 0 {
		note = "heads are left out: name them to include them: " + nodeset.Fold(left)
	}
	if len(meant) == 0 {
		text := "no node matches " + set
		if note != "" {
			text += "; " + note
		}
		return nil, "", &problem{http.StatusNotFound, text, "masthead node list"}
	}
	return meant, note, nil
}
