package state

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// index is the state in memory: what readers see. It changes only after the disk has the change, so nobody acts on
// what a power cut could take back; and no reader touches the memory-mapped file, where a bad sector would be a
// SIGBUS.
type index struct {
	mu    sync.RWMutex
	kinds map[Kind]map[string]Record // tombstones too
}

func newIndex() *index { return &index{kinds: map[Kind]map[string]Record{}} }

func (x *index) lookup(k Key) (Record, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	r, ok := x.kinds[k.Kind][k.Name]
	return r, ok
}

func (x *index) get(k Key) (Record, error) {
	r, ok := x.lookup(k)
	if !ok || r.Deleted {
		return Record{}, fmt.Errorf("state: %s: %w", k, ErrNotFound)
	}
	return r, nil
}

func (x *index) list(kind Kind, prefix string) []Record {
	x.mu.RLock()
	var found []Record
	for name, r := range x.kinds[kind] {
		if !r.Deleted && strings.HasPrefix(name, prefix) {
			found = append(found, r)
		}
	}
	x.mu.RUnlock()
	slices.SortFunc(found, func(a, b Record) int { return strings.Compare(a.Key.Name, b.Key.Name) })
	return found
}

// set takes records in, all at once for readers. Audit entries stay on disk.
func (x *index) set(records []Record) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, r := range records {
		if r.Key.Kind == KindAudit {
			continue
		}
		m := x.kinds[r.Key.Kind]
		if m == nil {
			m = map[string]Record{}
			x.kinds[r.Key.Kind] = m
		}
		m[r.Key.Name] = r
	}
}

// replace makes the index hold exactly records, and gives those that differ from before.
func (x *index) replace(records []Record) (changed []Record) {
	for _, r := range records {
		if r.Key.Kind == KindAudit {
			continue
		}
		if old, ok := x.lookup(r.Key); !ok || old.Version != r.Version {
			changed = append(changed, r)
		}
	}
	fresh := newIndex()
	fresh.set(records)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.kinds = fresh.kinds
	return changed
}
