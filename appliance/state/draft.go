package state

import (
	"slices"
	"strings"
	"time"
)

// draft is what one transaction will change, over the state before it. It is pure: nothing is written until the draft
// is finished.
type draft struct {
	before   *index
	head     string
	keep     int  // audit entries
	complete bool // nothing that other heads had was ever missing here
	now      time.Time
	hlc      HLC
	epoch    uint64
	horizon  HLC

	set  map[Key]Record
	gone map[Key]Version // what is forgotten, without a tombstone
	own  map[Key]bool    // of set: written by this head's Apply
}

func (t *draft) at(k Key) (Record, bool) {
	if r, ok := t.set[k]; ok {
		return r, true
	}
	if _, ok := t.gone[k]; ok {
		return Record{}, false
	}
	return t.before.lookup(k)
}

func (t *draft) stamp(k Key) (Stamp, bool) {
	if r, ok := t.set[k]; ok {
		return r.Stamp(), true
	}
	if _, ok := t.gone[k]; ok {
		return Stamp{}, false
	}
	return t.before.stamp(k)
}

func (t *draft) put(r Record, own bool) {
	delete(t.gone, r.Key)
	t.set[r.Key] = r
	delete(t.own, r.Key)
	if own {
		t.own[r.Key] = true
	}
	if r.Key == horizonKey {
		t.horizon = horizonOf(r)
	}
}

func (t *draft) forget(k Key, v Version) {
	delete(t.set, k)
	delete(t.own, k)
	t.gone[k] = v
}

// apply makes all changes of an Apply or none. The version is zero if they change nothing.
func (t *draft) apply(o Origin, ops []Op) (Version, error) {
	t.hlc = t.hlc.Tick(t.now)
	v := Version{Epoch: t.epoch, HLC: t.hlc, Head: t.head}
	news, olds, err := plan(ops, v, t.at)
	if err != nil || len(news) == 0 {
		return Version{}, err
	}
	entry, audited, err := auditRecord(o, v, news, olds)
	if err != nil {
		return Version{}, err
	}
	for _, w := range news {
		t.put(w, true)
	}
	if audited {
		t.put(entry, true)
	}
	return v, nil
}

// Merged is what became of records from another head.
type Merged struct {
	Taken     int
	Stale     int           // this or a later version was here
	Ignored   int           // deleted before the horizon
	Ahead     int           // from a clock more than MaxSkew ahead of ours
	Lead      time.Duration // how far the clock farthest ahead was
	Conflicts int           // writes that were found lost, and not known to be before
}

// merge takes over what other heads wrote.
func (t *draft) merge(records []Record) (m Merged, err error) {
	// The horizon first: what it forbids must not come in just before it.
	for _, horizon := range []bool{true, false} {
		for _, r := range records {
			if (r.Key == horizonKey) == horizon {
				if err := t.mergeOne(r, &m); err != nil {
					return m, err
				}
			}
		}
	}
	return m, nil
}

func (t *draft) mergeOne(r Record, m *Merged) error {
	if lead := r.Version.HLC.Time().Sub(t.now); lead > MaxSkew {
		m.Ahead++
		m.Lead = max(m.Lead, lead)
		return nil
	}
	have, ok := t.stamp(r.Key)
	if !ok && t.complete && r.Version.HLC <= t.horizon {
		m.Ignored++
		return nil
	}
	later := !ok || have.before(r)
	if old, inMemory := t.at(r.Key); inMemory && old.Version != r.Version {
		w, l := old, r
		if later {
			w, l = r, old
		}
		if err := t.conflict(w, l, m); err != nil {
			return err
		}
	}
	if !later {
		m.Stale++
		return nil
	}
	m.Taken++
	t.hlc = max(t.hlc, r.Version.HLC)
	// A write of this head must win over all that it has seen, so it is made in the newest epoch that it has seen.
	t.epoch = max(t.epoch, r.Version.Epoch)
	t.put(r, false)
	return nil
}

// conflict puts it on record if l was lost against w. What was lost before the horizon met its winner long ago.
func (t *draft) conflict(w, l Record, m *Merged) error {
	if l.Version.HLC <= t.horizon {
		return nil
	}
	entry, lost, err := conflictRecord(w, l)
	if err != nil || !lost {
		return err
	}
	if known, ok := t.stamp(entry.Key); !ok || known.before(entry) {
		t.put(entry, false)
		m.Conflicts++
	}
	return nil
}

// before reports whether r replaces what s stands for.
func (s Stamp) before(r Record) bool {
	c := s.Version.Compare(r.Version)
	if c == 0 {
		c = s.Hash.Compare(r.Hash())
	}
	return c < 0
}

// drop forgets records at exactly these versions.
func (t *draft) drop(stamps []Stamp) {
	for _, s := range stamps {
		if have, ok := t.stamp(s.Key); ok && have.Version == s.Version {
			t.forget(s.Key, s.Version)
		}
	}
}

// change is a finished draft.
type change struct {
	writes []Record // to be stored, by key
	drops  []Key    // to be taken out
	seen   []Record // what followers hear of: the writes, and tombstones for all that is not there any more
	own    []Record // of the writes, those of this head's Apply
}

// finish brings the draft to the one form that every head gives to the same records: no tombstone up to the horizon,
// and only the newest audit entries.
func (t *draft) finish() change {
	var c change
	if t.horizon > t.before.horizon {
		for _, k := range t.before.tombstones(t.horizon) {
			if _, again := t.set[k]; !again {
				t.forget(k, Version{})
			}
		}
	}
	for k, r := range t.set {
		if r.Deleted && r.Version.HLC <= t.horizon {
			t.forget(k, r.Version)
		}
	}
	t.trim()
	for k, r := range t.set {
		c.writes = append(c.writes, r)
		if t.own[k] {
			c.own = append(c.own, r)
		}
	}
	byKey(c.writes)
	byKey(c.own)
	c.seen = slices.Clip(c.writes)
	for k, v := range t.gone {
		if _, ok := t.before.stamp(k); ok {
			c.drops = append(c.drops, k)
		}
		if !v.IsZero() && k.Kind != KindAudit {
			c.seen = append(c.seen, Record{Key: k, Deleted: true, Version: v})
		}
	}
	return c
}

// trim forgets the oldest audit entries.
func (t *draft) trim() {
	var fresh []string
	for k := range t.set {
		if _, ok := t.before.stamp(k); k.Kind == KindAudit && !ok {
			fresh = append(fresh, k.Name)
		}
	}
	slices.Sort(fresh)
	old := t.before.audit // only the writer changes it
	excess := len(old) + len(fresh) - t.keep
	for k := range t.gone {
		if _, ok := t.before.stamp(k); ok && k.Kind == KindAudit {
			excess--
		}
	}
	for ; excess > 0; excess-- {
		for len(old) > 0 && t.isGone(Key{KindAudit, old[0]}) {
			old = old[1:]
		}
		var name string
		if len(fresh) == 0 || len(old) > 0 && old[0] < fresh[0] {
			name, old = old[0], old[1:]
		} else {
			name, fresh = fresh[0], fresh[1:]
		}
		t.forget(Key{KindAudit, name}, Version{})
	}
}

func (t *draft) isGone(k Key) bool {
	_, ok := t.gone[k]
	return ok
}

func byKey(records []Record) {
	slices.SortFunc(records, func(a, b Record) int { return strings.Compare(a.Key.String(), b.Key.String()) })
}
