package wire

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
)

// BriefNodes is Nodes without the inventories, which are most of a long list.
func (c *Client) BriefNodes(ctx context.Context, set string) ([]Node, error) {
	return ask[[]Node](ctx, c, http.MethodGet, PathNodes+"?brief&"+setQuery(set), nil)
}

// RawNodes is Nodes as the head wrote it: to be passed on, not read.
func (c *Client) RawNodes(ctx context.Context, set string) (json.RawMessage, error) {
	path := PathNodes
	if set != "" {
		path += "?" + setQuery(set)
	}
	return ask[json.RawMessage](ctx, c, http.MethodGet, path, nil)
}

// ChangeNodes changes all nodes of a set in the same way, or none, or says what would change (DryRun).
func (c *Client) ChangeNodes(ctx context.Context, set string, change NodeChange) ([]Changed, error) {
	return ask[[]Changed](ctx, c, http.MethodPatch, PathNodes+"?"+setQuery(set), change)
}

// RemoveNodes forgets all nodes of a set, or none, or says what would be forgotten.
func (c *Client) RemoveNodes(ctx context.Context, set string, dryRun bool) ([]Changed, error) {
	path := PathNodes + "?" + setQuery(set)
	if dryRun {
		path += "&dry_run"
	}
	return ask[[]Changed](ctx, c, http.MethodDelete, path, nil)
}

func setQuery(set string) string { return url.Values{"set": {set}}.Encode() }
