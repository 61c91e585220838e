package state

import (
	"encoding/json"
	"fmt"
	"time"
)

// AuditEntry is one Apply in the audit log.
type AuditEntry struct {
	Time    time.Time     `json:"time"`
	Head    string        `json:"head"`
	Who     string        `json:"who"`
	Where   string        `json:"where"`
	Changes []AuditChange `json:"changes"`
}

// AuditChange is one key of it. Old is null for a new key, New for a deleted one.
type AuditChange struct {
	Key string          `json:"key"`
	Old json.RawMessage `json:"old"`
	New json.RawMessage `json:"new"`
}

// auditValue is the longest value that the audit log repeats; of longer ones it keeps the size.
const auditValue = 16 << 10

// auditRecord makes the entry for writes, which replace old; ok is false if nothing in them is audited.
func auditRecord(o Origin, v Version, writes, old []Record) (r Record, ok bool, err error) {
	e := AuditEntry{Time: v.HLC.Time(), Head: v.Head, Who: o.Who, Where: o.Where}
	for i, w := range writes {
		if w.Key.Kind.audited() {
			e.Changes = append(e.Changes, AuditChange{w.Key.String(), shown(old[i]), shown(w)})
		}
	}
	if len(e.Changes) == 0 {
		return Record{}, false, nil
	}
	data, err := json.Marshal(e)
	if err != nil {
		return Record{}, false, fmt.Errorf("state: audit: %w", err)
	}
	if len(data) > maxValue { // one change of thousands of nodes: name them, without the values
		for i := range e.Changes {
			e.Changes[i].Old, e.Changes[i].New = nil, json.RawMessage(`"changed"`)
		}
		if data, err = json.Marshal(e); err != nil {
			return Record{}, false, fmt.Errorf("state: audit: %w", err)
		}
	}
	if data, err = Canonical(data); err != nil {
		return Record{}, false, fmt.Errorf("state: audit: %w", err)
	}
	name := fmt.Sprintf("%016x-%s", uint64(v.HLC), v.Head)
	return Record{Key: Key{KindAudit, name}, Value: data, Version: v}, true, nil
}

func shown(r Record) json.RawMessage {
	switch {
	case r.Value == nil:
		return json.RawMessage("null")
	case r.Key.Kind == KindSecret:
		return json.RawMessage(`"(secret)"`)
	case len(r.Value) > auditValue:
		return json.RawMessage(fmt.Sprintf(`"(%d bytes)"`, len(r.Value)))
	}
	return r.Value
}
