package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
)

// everything is all records of a state, audit entries too.
func everything(tb testing.TB, d *DB) []Record {
	tb.Helper()
	leaves := make([]int, LeafCount)
	for i := range leaves {
		leaves[i] = i
	}
	var keys []Key
	for _, s := range d.Stamps(leaves) {
		keys = append(keys, s.Key)
	}
	records, err := d.Records(keys)
	if err != nil || len(records) != len(keys) {
		tb.Fatalf("%d records of %d: %v", len(records), len(keys), err)
	}
	return records
}

// rootOf computes a root hash as its description says, from nothing.
func rootOf(records []Record) Hash {
	var leaves [LeafCount][]Hash
	for _, r := range records {
		leaf := LeafOf(r.Key)
		leaves[leaf] = append(leaves[leaf], r.Hash())
	}
	var mids []Hash
	for mid := range Fanout {
		var below []Hash
		for _, hashes := range leaves[mid*Fanout : (mid+1)*Fanout] {
			slices.SortFunc(hashes, Hash.Compare)
			below = append(below, hashAll(hashes))
		}
		mids = append(mids, hashAll(below))
	}
	return hashAll(mids)
}

func recordOf(kind Kind, name, value string, v Version, base ...Version) Record {
	r := Record{Key: Key{kind, name}, Version: v, Base: base, Deleted: value == ""}
	if value != "" {
		r.Value = json.RawMessage(value)
	}
	return r
}

func merge(t *testing.T, d *DB, records ...Record) Merged {
	t.Helper()
	m, err := d.Merge(t.Context(), records)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// at is a version by another head, ms milliseconds from now.
func at(head string, ms time.Duration) Version {
	return Version{Epoch: 1, HLC: HLCAt(time.Now().Add(ms * time.Millisecond)), Head: head}
}

func TestMergeIsDurable(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	mine := apply(t, d, put(t, KindNode, "a", 1)).Version
	w := d.Watch(KindNode)
	defer w.Close()
	first, late := at("head-2", -1000), at("head-2", 60)
	far := at("head-2", MaxSkew/time.Millisecond+60_000)
	got := merge(t, d,
		recordOf(KindNode, "a", "2", first), // earlier than ours, and unknown to us: lost
		recordOf(KindNode, "b", "3", late),
		recordOf(KindNode, "c", "", first),
		recordOf(KindNode, "d", "4", far),
	)
	lead := got.Lead
	if got.Lead = 0; lead < MaxSkew || lead > MaxSkew+2*time.Minute {
		t.Errorf("Lead = %v", lead)
	}
	if want := (Merged{Taken: 2, Stale: 1, Ahead: 1, Conflicts: 1}); got != want {
		t.Errorf("Merge = %+v, want %+v", got, want)
	}
	if again := merge(t, d, recordOf(KindNode, "a", "2", first), recordOf(KindNode, "b", "3", late)); again != (Merged{Stale: 2}) {
		t.Errorf("the same again: %+v", again)
	}
	changed, err := w.Next(t.Context())
	if err != nil || len(changed) != 2 {
		t.Errorf("who watches hears %v, %v; want b and c", changed, err)
	}
	if v := apply(t, d, put(t, KindNode, "e", 1)).Version; v.Compare(late) <= 0 {
		t.Errorf("a write after the merge has version %v, not after %v", v, late)
	}
	check := func(d *DB) {
		t.Helper()
		if diff := cmp.Diff(map[string]string{"a": "1", "b": "3", "e": "1"}, values(d, KindNode, "")); diff != "" {
			t.Error(diff)
		}
		log, err := d.Audit(10)
		if err != nil || len(log) != 3 {
			t.Fatalf("audit: %v, %v", log, err)
		}
		want := AuditEntry{
			Time: first.HLC.Time(), Head: "head-2", Conflict: &AuditConflict{Kept: mine, Lost: first},
			Changes: []AuditChange{{"node/a", json.RawMessage("2"), json.RawMessage("1")}},
		}
		if diff := cmp.Diff(want, log[2]); diff != "" {
			t.Error(diff)
		}
	}
	check(d)
	root := d.Summary().Root
	d.Close()
	d = open(t, dir)
	check(d)
	if got := d.Summary(); got.Root != root || got.Root != rootOf(everything(t, d)) {
		t.Errorf("after reopening the root is %s, before %s", got.Root, root)
	}
}

func TestTreeOfADB(t *testing.T) {
	d := open(t, t.TempDir())
	var ops []Op
	for i := range 500 {
		ops = append(ops, put(t, KindLease, fmt.Sprint(i), i))
	}
	apply(t, d, ops...)
	before := d.Summary()
	mids := d.Mids()
	if before.Root != hashAll(mids) || len(mids) != Fanout {
		t.Error("the root is not the hash of the mids")
	}
	apply(t, d, put(t, KindLease, "77", "x"))
	if after := d.Summary(); after.Root == before.Root || after.Records != 500 || after.Seq != 2 {
		t.Errorf("%+v, then %+v", before, after)
	}
	leaf := LeafOf(Key{KindLease, "77"})
	for mid, h := range d.Mids() {
		if (h != mids[mid]) != (mid == leaf/Fanout) {
			t.Errorf("mid %d changed: %t; the change was in leaf %d", mid, h != mids[mid], leaf)
		}
		if h != hashAll(d.Leaves(mid)) {
			t.Errorf("mid %d is not the hash of its leaves", mid)
		}
	}
	stamps := d.Stamps([]int{leaf, -1, LeafCount})
	if !slices.ContainsFunc(stamps, func(s Stamp) bool { return s.Key.Name == "77" }) || leafHash(stamps) != d.Leaves(leaf / Fanout)[leaf%Fanout] {
		t.Errorf("Stamps = %v", stamps)
	}
	if d.Leaves(-1) != nil || d.Leaves(Fanout) != nil {
		t.Error("there are leaves below a mid that is none")
	}
}

func TestFollow(t *testing.T) {
	d := open(t, t.TempDir())
	apply(t, d, put(t, KindNode, "before", 1))
	w := d.Follow()
	defer w.Close()
	merge(t, d, recordOf(KindNode, "theirs", "1", at("head-2", 0)))
	apply(t, d, put(t, KindNode, "a", 1))
	apply(t, d, put(t, KindNode, "a", 2), put(t, KindLease, "l", 1))
	nothing := apply(t, d, put(t, KindNode, "a", 2))
	records, seq, err := w.NextSeq(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range records {
		if r.Key.Kind == KindAudit {
			got = append(got, "audit")
		} else {
			got = append(got, fmt.Sprintf("%s=%s", r.Key, r.Value))
		}
	}
	if diff := cmp.Diff([]string{"audit", "audit", "lease/l=1", "node/a=2"}, got); diff != "" {
		t.Error(diff)
	}
	if seq != 3 || !nothing.Version.IsZero() || nothing.Seq != 3 || d.Summary().Seq != 3 {
		t.Errorf("seq %d, of an Apply that changed nothing %+v; want 3", seq, nothing)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if records, _, err := w.NextSeq(ctx); err == nil {
		t.Errorf("NextSeq with nothing new: %v", records)
	}
}

// Whoever has the Ack of a write finds it in what a follower got up to its Seq.
func TestFollowersAreNeverBehindAnAck(t *testing.T) {
	d := open(t, t.TempDir())
	w := d.Follow()
	defer w.Close()
	const workers, each = 8, 20
	acks := make(chan Ack, workers*each)
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			for k := range each {
				op, _ := Put(KindLease, fmt.Sprintf("%d-%d", i, k), k)
				ack, err := d.Apply(context.Background(), Origin{}, op)
				if err != nil {
					t.Error(err)
				}
				acks <- ack
			}
		})
	}
	type when struct{ before, with uint64 } // the follower's seq
	got := map[Version]when{}
	for last := uint64(0); len(got) < workers*each; {
		records, seq, err := w.NextSeq(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			got[r.Version] = when{last, seq}
		}
		last = seq
	}
	wg.Wait()
	close(acks)
	for ack := range acks {
		if g := got[ack.Version]; ack.Seq <= g.before || ack.Seq > g.with {
			t.Errorf("%+v came with seq %d, the last one before was %d", ack, g.with, g.before)
		}
	}
}

func TestDrop(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	apply(t, d, put(t, KindNode, "old", 1), put(t, KindNode, "new", 1))
	records, err := d.Records([]Key{{KindNode, "new"}, {KindNode, "never"}, {KindNode, "old"}})
	if err != nil || len(records) != 2 || records[0].Key.Name != "new" {
		t.Fatalf("Records = %v, %v", records, err)
	}
	apply(t, d, put(t, KindNode, "new", 2))
	w := d.Watch(KindNode)
	defer w.Close()
	if err := d.Drop([]Stamp{records[0].Stamp(), records[1].Stamp(), {Key: Key{KindNode, "never"}}}); err != nil {
		t.Fatal(err)
	}
	heard, err := w.Next(t.Context())
	if err != nil || len(heard) != 1 || heard[0].Key.Name != "old" || !heard[0].Deleted {
		t.Errorf("who watches hears %v, %v", heard, err)
	}
	d.Close()
	d = open(t, dir)
	var left []string
	for _, r := range d.All() {
		left = append(left, r.Key.Name)
	}
	if diff := cmp.Diff([]string{"new"}, left); diff != "" {
		t.Errorf("a record was dropped that had changed, or a tombstone was left:\n%s", diff)
	}
}

func TestHorizonOfACompleteHead(t *testing.T) {
	old := at("head-2", -1000)
	for _, complete := range []bool{false, true} {
		dir := t.TempDir()
		d := open(t, dir)
		if complete {
			if err := d.SetComplete(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := d.SetHorizon(t.Context(), old.HLC); err != nil {
			t.Fatal(err)
		}
		d.Close()
		d = open(t, dir)
		if s := d.Summary(); s.Complete != complete || s.Horizon != old.HLC {
			t.Errorf("reopened: %+v, want complete %t", s, complete)
		}
		newer := old
		newer.HLC++
		got := merge(t, d, recordOf(KindNode, "a", "1", old), recordOf(KindNode, "b", "1", newer))
		want := Merged{Taken: 2}
		if complete {
			want = Merged{Taken: 1, Ignored: 1}
		}
		if got != want {
			t.Errorf("complete %t: %+v, want %+v", complete, got, want)
		}
		// A deletion that all others forgot already takes its key along, and leaves nothing.
		if m := merge(t, d, recordOf(KindNode, "b", "", Version{Epoch: 2, HLC: old.HLC, Head: "head-2"})); m.Taken != 1 {
			t.Errorf("%+v", m)
		}
		if r, ok := d.index.lookup(Key{KindNode, "b"}); ok {
			t.Errorf("it left %v", r)
		}
		if log, err := d.Audit(10); err != nil || len(log) != 0 {
			t.Errorf("moving the horizon fills the audit log: %v, %v", log, err)
		}
	}
}

func TestEpoch(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	if err := d.SetEpoch(5); err != nil || d.Epoch() != 5 {
		t.Fatalf("%v, epoch %d", err, d.Epoch())
	}
	if err := d.SetEpoch(4); err == nil {
		t.Error("the epoch went down")
	}
	d.Close()
	d = open(t, dir)
	if v := apply(t, d, put(t, KindNode, "a", 1)).Version; v.Epoch != 5 {
		t.Errorf("after reopening it writes as %v", v)
	}
	v := at("head-2", 0)
	v.Epoch = 7
	merge(t, d, recordOf(KindNode, "a", "2", v))
	if got := apply(t, d, put(t, KindNode, "a", 3)).Version; got.Compare(v) <= 0 || d.Summary().Epoch != 7 {
		t.Errorf("over %v it wrote %v", v, got)
	}
}

func TestReset(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	if err := d.SetComplete(); err != nil {
		t.Fatal(err)
	}
	last := apply(t, d, put(t, KindNode, "a", 1), put(t, KindNode, "keep", 1)).Version
	w := d.Watch(KindNode)
	defer w.Close()
	kept := recordOf(KindNode, "keep", "2", at("head-2", -5000))
	moved, err := d.Reset(kept)
	if err != nil || moved != filepath.Join(dir, fileName+".old.00") {
		t.Fatalf("Reset = %s, %v", moved, err)
	}
	heard, err := w.Next(t.Context())
	if err != nil || len(heard) != 2 {
		t.Errorf("who watches hears %v, %v", heard, err)
	}
	check := func(d *DB) {
		t.Helper()
		if diff := cmp.Diff([]Record{kept}, everything(t, d)); diff != "" {
			t.Error(diff)
		}
		if s := d.Summary(); s.Complete || s.Root != rootOf([]Record{kept}) {
			t.Errorf("%+v", s)
		}
	}
	check(d)
	if v := apply(t, d, put(t, KindLease, "b", 1)).Version; v.Compare(last) <= 0 {
		t.Errorf("the clock went back from %v to %v", last, v)
	}
	apply(t, d, Delete(KindLease, "b"))
	if _, err := d.Reset(kept); err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile(moved)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := readContents(old); err != nil || len(c.records) != 3 {
		t.Errorf("the old file holds %d records, %v; want 3", len(c.records), err)
	}
	d.Close()
	d = open(t, dir)
	check(d)
}

// A head that lost a part of its file knows that it did, if somebody else can have it.
func TestDamageMakesIncomplete(t *testing.T) {
	for _, tc := range []struct {
		name  string
		heads []string
		harm  func([]byte)
		want  bool
	}{
		{"alone", []string{"head-1"}, func(b []byte) { clear(b[:8192]) }, true},
		{"one of two", []string{"head-1", "head-2"}, func(b []byte) { clear(b[:8192]) }, false},
		{"nothing left", []string{"head-1"}, func(b []byte) { clear(b) }, false},
	} {
		dir := t.TempDir()
		d := open(t, dir)
		for _, h := range tc.heads {
			apply(t, d, put(t, KindHead, h, 1))
		}
		if err := d.SetComplete(); err != nil {
			t.Fatal(err)
		}
		d.Close()
		path := filepath.Join(dir, fileName)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		tc.harm(data)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		d = open(t, dir)
		if s := d.Summary(); s.Complete != tc.want || d.Damage() == nil || d.Damage().Others == tc.want {
			t.Errorf("%s: complete %t after %v, want %t", tc.name, s.Complete, d.Damage(), tc.want)
		}
	}
}

// A file of the time when heads were alone opens as it is, complete, and is the new format after the first write.
func TestOldFileFormat(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, fileName)
	if err := createFile(path, contents{}); err != nil {
		t.Fatal(err)
	}
	b, err := openBoltDB(path)
	if err != nil {
		t.Fatal(err)
	}
	r := recordOf(KindNode, "a", "1", Version{1, 5, "head-1"})
	err = b.Update(func(tx *bolt.Tx) error {
		meta := tx.Bucket([]byte(bucketMeta))
		return errors.Join(meta.Put([]byte(metaFormat), []byte("1")), meta.Delete([]byte(metaComplete)), meta.Delete([]byte(metaEpoch)),
			tx.Bucket([]byte(bucketRecords)).Put([]byte(r.Key.String()), encodeOld(r)))
	})
	if err := errors.Join(err, b.Close()); err != nil {
		t.Fatal(err)
	}
	format := func() string {
		t.Helper()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		c, err := readContents(data)
		if err != nil {
			t.Fatal(err)
		}
		return c.format
	}
	d := open(t, dir)
	if s := d.Summary(); !s.Complete || s.Root != rootOf([]Record{r}) || format() != "1" {
		t.Errorf("%+v, format %s", s, format())
	}
	apply(t, d, put(t, KindNode, "b", 1))
	d.Close()
	if d = open(t, dir); !d.Summary().Complete || format() != "2" || len(d.List(KindNode, "")) != 2 {
		t.Errorf("after a write: %+v, format %s", d.Summary(), format())
	}
}
