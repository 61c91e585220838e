package state

import (
	"bytes"
	"crypto/sha256"
	"fmt"
)

// AuditConflict is in the entry of a write that lost against one that was made without knowledge of it.
type AuditConflict struct {
	Kept Version `json:"kept"`
	Lost Version `json:"lost"`
}

// conflictRecord makes the audit entry for the write l that lost against w, if it was lost: if who wrote w did not know
// l, and it was not the same value. It is a function of the two alone, so all heads that see them make the same bytes.
// There is one entry for each lost write; where several writes won over it, the latest is what stays in the log.
func conflictRecord(w, l Record) (r Record, ok bool, err error) {
	same := w.Deleted == l.Deleted && bytes.Equal(w.Value, l.Value)
	if !w.Key.audited() || w.Key.Kind == KindAudit || same || w.knew(l.Version) {
		return Record{}, false, nil
	}
	e := AuditEntry{
		Time:     l.Version.HLC.Time(),
		Head:     l.Version.Head,
		Changes:  []AuditChange{{w.Key.String(), shown(l), shown(w)}},
		Conflict: &AuditConflict{Kept: w.Version, Lost: l.Version},
	}
	sum := sha256.Sum256([]byte(w.Key.String())) // one Apply writes many keys with the same version
	name := fmt.Sprintf("%s-%x", auditName(l.Version), sum[:8])
	r, err = e.record(name, w.Version)
	return r, err == nil, err
}
