package wire

import (
	"context"
	"net/http"
	"net/url"
)

// PathGroups is GET []Group; a name below it is PATCH GroupChange and DELETE, which both answer GroupChanged;
// administrator.
const PathGroups = "/api/v1/groups"

// Group is what nodes of a group have in common. A node's own word goes before that of its groups, of which the first by
// name counts that has one.
type Group struct {
	Name  string   `json:"name"`
	Heads []string `json:"heads,omitempty"` // in the order to try
	Image string   `json:"image,omitempty"` // tag or digest
	Nodes int      `json:"nodes"`           // that are in it
	Set   string   `json:"set,omitempty"`   // which ones, as a node set
}

// GroupChange asks for a change of a group. Nil fields stay as they are.
type GroupChange struct {
	Heads  *[]string `json:"heads,omitempty"` // empty takes the list away
	Image  *string   `json:"image,omitempty"` // "" takes it away
	DryRun bool      `json:"dry_run,omitempty"`
}

// GroupChanged is the answer to a change: what differs, and whether it was done.
type GroupChanged struct {
	Group   Group        `json:"group"`
	Diff    []Difference `json:"diff"`
	Applied bool         `json:"applied"`
	// Degraded, if not empty, is why no other head has what was written yet.
	Degraded string `json:"degraded,omitempty"`
}

// Groups lists the groups of nodes.
func (c *Client) Groups(ctx context.Context) ([]Group, error) {
	return ask[[]Group](ctx, c, http.MethodGet, PathGroups, nil)
}

// ChangeGroup changes what holds for a group, or says what would change (DryRun).
func (c *Client) ChangeGroup(ctx context.Context, name string, change GroupChange) (GroupChanged, error) {
	return ask[GroupChanged](ctx, c, http.MethodPatch, PathGroups+"/"+url.PathEscape(name), change)
}

// RemoveGroup takes away what was decided for a group, or says what it would.
func (c *Client) RemoveGroup(ctx context.Context, name string, dryRun bool) (GroupChanged, error) {
	return ask[GroupChanged](ctx, c, http.MethodDelete, dry(PathGroups+"/"+url.PathEscape(name), dryRun), nil)
}

// dry is a path that only says what it would do, if asked so.
func dry(path string, dryRun bool) string {
	if dryRun {
		return path + "?dry_run"
	}
	return path
}
