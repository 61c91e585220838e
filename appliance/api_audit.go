package appliance

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"masthead/appliance/state"
	"masthead/node/wire"
)

const (
	auditEntries    = 20     // that are shown when nobody says how many
	maxAuditEntries = 10_000 // as many as one answer holds
)

// auditRoutes are the API of the audit log.
func (a *api) auditRoutes() []route {
	return []route{
		{"GET " + wire.PathAudit, admin, "Show the last changes: who, when, where, what; ?n= says how many", nil, []state.AuditEntry{}, a.audit, nil},
	}
}

func (a *api) audit(_ context.Context, _ caller, r *http.Request) (any, error) {
	n := auditEntries
	if text := r.URL.Query().Get("n"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 1 || n > maxAuditEntries {
			return nil, &problem{http.StatusBadRequest, fmt.Sprintf("n=%s: want a number from 1 to %d", text, maxAuditEntries), ""}
		}
	}
	entries, err := a.head.db.Audit(n)
	if entries == nil {
		entries = []state.AuditEntry{} // an empty list in JSON, not null
	}
	return entries, err
}
