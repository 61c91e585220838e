package state

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// memHead is a head without a disk: what DB does with drafts, and nothing else.
type memHead struct {
	name     string
	keep     int
	complete bool
	index    *index
	audit    map[Key]Record
	hlc      HLC
	epoch    uint64
}

func newMemHead(name string, keep int) *memHead {
	return &memHead{name: name, keep: keep, complete: true, index: newIndex(), audit: map[Key]Record{}, epoch: 1}
}

func (h *memHead) draft(now time.Time) *draft {
	return &draft{
		before: h.index, head: h.name, keep: h.keep, complete: h.complete, now: now, hlc: h.hlc, epoch: h.epoch,
		horizon: h.index.horizon, set: map[Key]Record{}, gone: map[Key]Version{}, own: map[Key]bool{},
	}
}

func (h *memHead) commit(t *draft) {
	c := t.finish()
	h.hlc, h.epoch = t.hlc, t.epoch
	h.index.apply(c.writes, c.drops)
	for _, r := range c.writes {
		if r.Key.Kind == KindAudit {
			h.audit[r.Key] = r
		}
	}
	for _, k := range c.drops {
		delete(h.audit, k)
	}
}

func (h *memHead) apply(now time.Time, ops ...Op) {
	t := h.draft(now)
	if _, err := t.apply(Origin{Who: "test", Where: "here"}, ops); err != nil {
		panic(err)
	}
	h.commit(t)
}

func (h *memHead) merge(now time.Time, records []Record) Merged {
	t := h.draft(now)
	m, err := t.merge(records)
	if err != nil {
		panic(err)
	}
	h.commit(t)
	return m
}

func (h *memHead) all() []Record {
	records := h.index.all()
	for _, r := range h.audit {
		records = append(records, r)
	}
	byKey(records)
	return records
}

func (h *memHead) root() Hash {
	h.index.tree.settle()
	return h.index.tree.root
}

// clone is another head with the same state.
func (h *memHead) clone(now time.Time) *memHead {
	c := newMemHead(h.name, h.keep)
	t := c.draft(now)
	for _, r := range h.all() {
		t.put(r, false)
	}
	c.hlc, c.epoch, c.complete = h.hlc, h.epoch, h.complete
	t.hlc, t.epoch = h.hlc, h.epoch
	c.commit(t)
	return c
}

// join is a with all that b has.
func join(now time.Time, a, b *memHead) *memHead {
	c := a.clone(now)
	c.merge(now, b.all())
	return c
}

// memCluster is a few heads that write and hear of each other as it happens to come.
type memCluster struct {
	now   time.Time
	heads []*memHead
	sent  []Record // everything that was ever on its way
	wrote []Record
}

func newMemCluster(keep int) *memCluster {
	c := &memCluster{now: time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)}
	for _, name := range []string{"a", "b", "c"} {
		c.heads = append(c.heads, newMemHead(name, keep))
	}
	return c
}

var someKeys = []Key{{KindNode, "n1"}, {KindNode, "n2"}, {KindSecret, "s"}, {KindLease, "10.0.0.1"}}

func (c *memCluster) pick(t *rapid.T, what string) *memHead {
	return c.heads[rapid.IntRange(0, len(c.heads)-1).Draw(t, what)]
}

// step does one thing to one head.
func (c *memCluster) step(t *rapid.T) {
	h := c.pick(t, "head")
	switch rapid.IntRange(0, 5).Draw(t, "what") {
	case 0, 1, 2:
		op := Op{Key: rapid.SampledFrom(someKeys).Draw(t, "key")}
		if v := rapid.IntRange(0, 4).Draw(t, "value"); v > 0 {
			op.Value = json.RawMessage(fmt.Sprint(v))
		}
		h.apply(c.now, op)
		if r, ok := h.index.lookup(op.Key); ok && r.Version.Head == h.name {
			c.wrote = append(c.wrote, r)
		}
	case 3:
		from := c.pick(t, "from")
		records := from.all()
		if n := len(records); n > 0 {
			first := rapid.IntRange(0, n-1).Draw(t, "first")
			records = records[first:rapid.IntRange(first, n).Draw(t, "last")]
		}
		c.sent = append(c.sent, records...)
		h.merge(c.now, records)
	case 4:
		c.now = c.now.Add(time.Duration(rapid.IntRange(-5, 20).Draw(t, "ms")) * time.Millisecond)
	case 5:
		if rapid.IntRange(0, 9).Draw(t, "epoch") == 0 {
			h.epoch++
		}
	}
}

// settle lets all heads hear everything.
func (c *memCluster) settle(t *rapid.T) {
	for range 3 {
		for _, from := range c.heads {
			records := from.all()
			c.sent = append(c.sent, records...)
			for _, to := range c.heads {
				to.merge(c.now, records)
			}
		}
	}
	for _, h := range c.heads {
		if h.root() != c.heads[0].root() {
			t.Fatalf("%s and %s hold different states:\n%s", h.name, c.heads[0].name, cmp.Diff(c.heads[0].all(), h.all()))
		}
		if want := rootOf(h.all()); h.root() != want {
			t.Fatalf("%s has root %s, counted from nothing it is %s", h.name, h.root(), want)
		}
	}
}

func (c *memCluster) play(t *rapid.T) {
	for range rapid.IntRange(0, 30).Draw(t, "steps") {
		c.step(t)
	}
}

// Whatever was written where and heard in what order: in the end all heads hold the same bytes, and each write is what stands, or was overwritten by somebody who knew it, or is in the audit log.
func TestHeadsConverge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newMemCluster(1000)
		c.play(t)
		c.settle(t)
		end := c.heads[0]
		c.repeat(t, end)
		lost := map[string]bool{}
		for _, r := range end.audit {
			if e, err := Decode[AuditEntry](r); err != nil {
				t.Fatal(err)
			} else if e.Conflict != nil {
				lost[e.Changes[0].Key+e.Conflict.Lost.String()] = true
			}
		}
		for _, w := range c.wrote {
			if w.Key.audited() && !c.accounted(end, w) && !lost[w.Key.String()+w.Version.String()] {
				t.Fatalf("%v is gone, and nothing tells of it", w)
			}
		}
	})
}

// repeat has a head hear again all that was ever said. Values that are long overwritten meet new ones, so conflicts may
// be found that nobody saw; nothing else changes, and all heads get to know them.
func (c *memCluster) repeat(t *rapid.T, h *memHead) {
	before := h.index.all()
	h.merge(c.now, c.sent)
	if diff := cmp.Diff(sorted(before), sorted(h.index.all())); diff != "" {
		t.Fatalf("%s changed by hearing again what it knew:\n%s", h.name, diff)
	}
	c.settle(t)
}

func sorted(records []Record) []Record {
	byKey(records)
	return records
}

func (c *memCluster) accounted(end *memHead, w Record) bool {
	if r, _ := end.index.lookup(w.Key); r.Version == w.Version {
		return true
	}
	for _, other := range c.wrote {
		if other.Key == w.Key && other.Version.Compare(w.Version) > 0 &&
			(other.knew(w.Version) || bytes.Equal(other.Value, w.Value)) {
			return true
		}
	}
	return false
}

// A short audit log is cut everywhere alike.
func TestHeadsConvergeOnAShortLog(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newMemCluster(3)
		c.play(t)
		c.settle(t)
		if n := len(c.heads[0].audit); n > 3 {
			t.Fatalf("%d audit entries, want 3 at most", n)
		}
		c.repeat(t, c.heads[1])
	})
}

// Joining states commutes and is idempotent to the last byte, conflict entries too. It associates in all records;
// which conflicts are found on the way depends on the way, and all of them are there once the ways meet.
func TestJoinProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cl := newMemCluster(1000)
		cl.play(t)
		a, b, c := cl.heads[0], cl.heads[1], cl.heads[2]
		same := func(what string, x, y *memHead) {
			if x.root() != y.root() {
				t.Fatalf("not %s:\n%s", what, cmp.Diff(x.all(), y.all()))
			}
			if x.root() != rootOf(x.all()) {
				t.Fatalf("%s: the root is not that of the records", what)
			}
		}
		same("idempotent", join(cl.now, a, a), a)
		same("commutative", join(cl.now, a, b), join(cl.now, b, a))
		left, right := join(cl.now, join(cl.now, a, b), c), join(cl.now, a, join(cl.now, b, c))
		for _, r := range left.index.all() {
			if o, ok := right.index.lookup(r.Key); !ok || o.Hash() != r.Hash() {
				t.Fatalf("not associative: %v and %v", r, o)
			}
		}
		if len(left.index.all()) != len(right.index.all()) {
			t.Fatal("not associative: one side has more records")
		}
		same("associative once both have met", join(cl.now, left, right), join(cl.now, right, left))
	})
}

// After the horizon has passed a deletion on all heads nothing brings the key back, whoever still sends it.
func TestNothingIsResurrected(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newMemCluster(1000)
		c.play(t)
		c.settle(t)
		h := c.pick(t, "who moves the horizon")
		m := h.index.newest
		op, err := Put(KindSetting, SettingHorizon, m)
		if err != nil {
			t.Fatal(err)
		}
		h.apply(c.now, op)
		c.settle(t)
		for _, r := range h.index.all() {
			if r.Deleted && r.Version.HLC <= m {
				t.Fatalf("%v is kept below the horizon %x", r, m)
			}
		}
		root, before := h.root(), h.all()
		for _, h := range c.heads {
			h.merge(c.now, c.sent)
			if h.root() != root {
				t.Fatalf("%s took back what was deleted:\n%s", h.name, cmp.Diff(before, h.all()))
			}
		}
		c.play(t)
		c.settle(t)

		// A head that begins from nothing gets there too, in any order, while it is incomplete.
		fresh := newMemHead("d", 1000)
		fresh.complete = false
		records := h.all()
		rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "order"), 0)).Shuffle(len(records), func(i, k int) {
			records[i], records[k] = records[k], records[i]
		})
		for len(records) > 0 {
			n := rapid.IntRange(1, len(records)).Draw(t, "n")
			fresh.merge(c.now, records[:n])
			records = records[n:]
		}
		if fresh.root() != h.root() {
			t.Fatalf("a new head got to another state:\n%s", cmp.Diff(h.all(), fresh.all()))
		}
	})
}

func TestConflictIsTold(t *testing.T) {
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	a, b, c := newMemHead("a", 100), newMemHead("b", 100), newMemHead("c", 100)
	put := func(v string) Op { return Op{Key: Key{KindNode, "n1"}, Value: json.RawMessage(v)} }
	a.apply(now, put("1"))
	b.apply(now, put("2"))
	c.merge(now, b.all())
	c.apply(now, put("3")) // knows of b's, not of a's
	if m := a.merge(now, c.all()); m.Conflicts != 1 {
		t.Errorf("merging c: %+v, want a conflict", m)
	}
	if m := a.merge(now, b.all()); m.Taken+m.Conflicts != 0 {
		t.Errorf("merging b, whose write c knew: %+v, want nothing", m)
	}
	var got []AuditEntry
	for _, r := range a.all() {
		if e, err := Decode[AuditEntry](r); err == nil && e.Conflict != nil {
			got = append(got, e)
		}
	}
	want := []AuditEntry{{
		Time: now, Head: "a",
		Changes: []AuditChange{{"node/n1", json.RawMessage("1"), json.RawMessage("3")}},
		Conflict: &AuditConflict{
			Kept: Version{1, HLCAt(now) + 1, "c"},
			Lost: Version{1, HLCAt(now), "a"},
		},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
