package state

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// index is the state in memory: what readers see. It changes only after the disk has the change, so nobody acts on
// what a power cut could take back; and no reader touches the memory-mapped file, where a bad sector would be a
// SIGBUS. Of audit entries it has the names and the stamps; their values stay on disk.
type index struct {
	mu      sync.RWMutex
	kinds   map[Kind]map[string]Record // tombstones too
	tree    *tree
	audit   []string // names, in order
	newest  HLC
	horizon HLC

	short atomic.Pointer[brief] // of all this; nil: it changed; set with mu held
}

// brief is the index's part of a Summary.
type brief struct {
	root            Hash
	newest, horizon HLC
	records         int
}

// brief is asked for several times a second, so it takes no lock while nothing changes.
func (x *index) brief() *brief {
	if b := x.short.Load(); b != nil {
		return b
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.tree.settle()
	b := &brief{x.tree.root, x.newest, x.horizon, x.tree.count}
	x.short.Store(b)
	return b
}

func newIndex() *index { return &index{kinds: map[Kind]map[string]Record{}, tree: newTree()} }

func (x *index) lookup(k Key) (Record, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	r, ok := x.kinds[k.Kind][k.Name]
	return r, ok
}

func (x *index) stamp(k Key) (Stamp, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.tree.get(k)
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

// all gives every record but the audit entries, in no order.
func (x *index) all() []Record {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var found []Record
	for _, m := range x.kinds {
		for _, r := range m {
			found = append(found, r)
		}
	}
	return found
}

// tombstones lists what was deleted up to h.
func (x *index) tombstones(h HLC) (keys []Key) {
	for _, r := range x.all() {
		if r.Deleted && r.Version.HLC <= h {
			keys = append(keys, r.Key)
		}
	}
	return keys
}

// apply takes records in and others out, all at once for readers.
func (x *index) apply(writes []Record, drops []Key) {
	stamps := make([]Stamp, len(writes))
	for i, r := range writes {
		stamps[i] = r.Stamp()
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.short.Store(nil)
	for _, k := range drops {
		x.tree.remove(k)
		delete(x.kinds[k.Kind], k.Name)
		if at, ok := slices.BinarySearch(x.audit, k.Name); ok && k.Kind == KindAudit {
			x.audit = slices.Delete(x.audit, at, at+1)
		}
		if k == horizonKey {
			x.horizon = 0
		}
	}
	var audit []string
	for i, r := range writes {
		x.newest = max(x.newest, r.Version.HLC)
		x.tree.set(stamps[i])
		if r.Key == horizonKey {
			x.horizon = horizonOf(r)
		}
		if r.Key.Kind == KindAudit {
			audit = append(audit, r.Key.Name)
			continue
		}
		m := x.kinds[r.Key.Kind]
		if m == nil {
			m = map[string]Record{}
			x.kinds[r.Key.Kind] = m
		}
		m[r.Key.Name] = r
	}
	if len(audit) > 0 {
		x.audit = mergeNames(x.audit, audit)
	}
}

// mergeNames adds names to sorted ones; most are later than all.
func mergeNames(sorted, names []string) []string {
	slices.Sort(names)
	inOrder := len(sorted) == 0 || sorted[len(sorted)-1] < names[0]
	sorted = append(sorted, names...)
	if !inOrder {
		slices.Sort(sorted)
	}
	return slices.Compact(sorted)
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
	fresh.apply(records, nil)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.short.Store(nil)
	x.kinds, x.tree, x.audit, x.newest, x.horizon = fresh.kinds, fresh.tree, fresh.audit, fresh.newest, fresh.horizon
	return changed
}
