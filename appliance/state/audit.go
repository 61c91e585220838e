package state

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// AuditEntry is one Apply in the audit log, or one write of it that was lost.
type AuditEntry struct {
	Time    time.Time     `json:"time"`
	Head    string        `json:"head"`
	Who     string        `json:"who"`
	Where   string        `json:"where"`
	Note    string        `json:"note,omitempty"` // what was done that changed no record
	Changes []AuditChange `json:"changes"`
	// Conflict is set where the entry tells of a lost write: Old is then the value that was lost, New the one that
	// stands, and Head the head whose write was lost.
	Conflict *AuditConflict `json:"conflict,omitempty"`
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
		if w.Key.audited() {
			e.Changes = append(e.Changes, AuditChange{w.Key.String(), shown(old[i]), shown(w)})
		}
	}
	if len(e.Changes) == 0 {
		return Record{}, false, nil
	}
	r, err = e.record(auditName(v), v)
	if err == nil && len(r.Value) > maxValue { // one change of thousands of nodes: name them, without the values
		for i := range e.Changes {
			e.Changes[i].Old, e.Changes[i].New = nil, json.RawMessage(`"changed"`)
		}
		r, err = e.record(auditName(v), v)
	}
	return r, err == nil, err
}

// record is the entry as the state keeps it.
func (e AuditEntry) record(name string, v Version) (Record, error) {
	data, err := json.Marshal(e)
	if err == nil {
		data, err = Canonical(data)
	}
	if err != nil {
		return Record{}, fmt.Errorf("state: audit: %w", err)
	}
	return Record{Key: Key{KindAudit, name}, Value: data, Version: v}, nil
}

// maxNote is the longest text that the audit log takes by itself.
const maxNote = 16 << 10

// Note enters in the audit log what somebody did that changes no record. It is durable when it returns, and blocks as
// Apply does.
func (d *DB) Note(ctx context.Context, o Origin, text string) error {
	text = strings.ToValidUTF8(text[:min(len(text), maxNote)], "")
	return d.do(ctx, &request{change: func(t *draft) error { return t.note(o, text) }})
}

func (t *draft) note(o Origin, text string) error {
	t.hlc = t.hlc.Tick(t.now)
	v := Version{Epoch: t.epoch, HLC: t.hlc, Head: t.head}
	e := AuditEntry{Time: v.HLC.Time(), Head: v.Head, Who: o.Who, Where: o.Where, Note: text, Changes: []AuditChange{}}
	r, err := e.record(auditName(v), v)
	if err != nil {
		return err
	}
	t.put(r, true)
	return nil
}

// auditName sorts by time.
func auditName(v Version) string { return fmt.Sprintf("%016x-%s", uint64(v.HLC), v.Head) }

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
