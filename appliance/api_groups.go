package appliance

import (
	"context"
	"net/http"

	"masthead/node/wire"
)

// groupRoutes are the API of what holds for groups of nodes.
func (a *api) groupRoutes() []route {
	return []route{
		{"GET " + wire.PathGroups, admin, "List the groups of nodes", nil, []wire.Group{}, a.groups, nil},
		{"PATCH " + wire.PathGroups + "/{name}", admin, "Decide something for all nodes of a group", wire.GroupChange{}, wire.GroupChanged{}, a.changeGroup, nil},
		{"DELETE " + wire.PathGroups + "/{name}", admin, "Take away what was decided for a group; ?dry_run only says what that is", nil, wire.GroupChanged{}, a.removeGroup, nil},
	}
}

func (a *api) groups(context.Context, caller, *http.Request) (any, error) {
	return a.head.reg.Groups(), nil
}

func (a *api) changeGroup(ctx context.Context, c caller, r *http.Request) (any, error) {
	ch, err := decode[wire.GroupChange](r)
	if err != nil {
		return nil, err
	}
	return a.head.reg.SetGroup(ctx, c.origin(), r.PathValue("name"), ch)
}

func (a *api) removeGroup(ctx context.Context, c caller, r *http.Request) (any, error) {
	return a.head.reg.RemoveGroup(ctx, c.origin(), r.PathValue("name"), r.URL.Query().Has("dry_run"))
}
