package wire

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// PathAudit is GET []AuditEntry, the newest first; ?n= says how many; administrator.
const PathAudit = "/api/v1/audit"

// AuditEntry is one change of the cluster: who made it, when, from where and what it was.
type AuditEntry struct {
	Time     time.Time      `json:"time"`
	Head     string         `json:"head"` // that took the change
	Who      string         `json:"who"`
	Where    string         `json:"where"`          // an address, or local
	Note     string         `json:"note,omitempty"` // what was done that changed no record
	Changes  []AuditChange  `json:"changes"`
	Conflict *AuditConflict `json:"conflict,omitempty"` // set: the old value was lost, two heads wrote at once
}

// AuditChange is one key of it. Old is null for a new key, New for a deleted one.
type AuditChange struct {
	Key string          `json:"key"`
	Old json.RawMessage `json:"old"`
	New json.RawMessage `json:"new"`
}

// AuditConflict names the heads whose writes met.
type AuditConflict struct {
	Kept struct {
		Head string `json:"head"`
	} `json:"kept"`
	Lost struct {
		Head string `json:"head"`
	} `json:"lost"`
}

// Audit gives the last n changes, the newest first.
func (c *Client) Audit(ctx context.Context, n int) ([]AuditEntry, error) {
	return ask[[]AuditEntry](ctx, c, http.MethodGet, fmt.Sprintf("%s?n=%d", PathAudit, n), nil)
}
