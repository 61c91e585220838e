package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("STATE_TEST_WRITER"); dir != "" {
		os.Exit(writer(dir))
	}
	goleak.VerifyTestMain(m)
}

var admin = Origin{Who: "admin", Where: "local"}

func open(t *testing.T, dir string) *DB {
	t.Helper()
	d, err := Open(Config{Dir: dir, Head: "head-1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func put(t *testing.T, kind Kind, name string, v any) Op {
	t.Helper()
	op, err := Put(kind, name, v)
	if err != nil {
		t.Fatal(err)
	}
	return op
}

func apply(t *testing.T, s Store, ops ...Op) Ack {
	t.Helper()
	ack, err := s.Apply(t.Context(), admin, ops...)
	if err != nil {
		t.Fatal(err)
	}
	return ack
}

func values(s Store, kind Kind, prefix string) map[string]string {
	m := map[string]string{}
	for _, r := range s.List(kind, prefix) {
		m[r.Key.Name] = string(r.Value)
	}
	return m
}

func TestApplyGetListReopen(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	first := apply(t, d, put(t, KindNode, "n02", 2), put(t, KindNode, "n01", 1), put(t, KindNode, "x", 0), put(t, KindLease, "n01", "l"))
	second := apply(t, d, Delete(KindNode, "x"))
	if second.Version.Compare(first.Version) <= 0 {
		t.Errorf("versions %v, then %v", first.Version, second.Version)
	}
	check := func(d *DB) {
		t.Helper()
		want := map[string]string{"n01": "1", "n02": "2"}
		if diff := cmp.Diff(want, values(d, KindNode, "")); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(map[string]string{"n02": "2"}, values(d, KindNode, "n02")); diff != "" {
			t.Error(diff)
		}
		r, err := d.Get(Key{KindNode, "n01"})
		if err != nil || r.Version != first.Version {
			t.Errorf("Get(n01) = %v, %v; want version %v", r, err, first.Version)
		}
		if _, err := d.Get(Key{KindNode, "x"}); !errors.Is(err, ErrNotFound) {
			t.Errorf("Get of a deleted key: %v", err)
		}
	}
	check(d)
	if _, err := Open(Config{Dir: dir, Head: "head-1"}); !errors.Is(err, ErrInUse) {
		t.Errorf("second Open: %v, want ErrInUse", err)
	}
	d.Close()
	if _, err := d.Apply(t.Context(), admin, Delete(KindNode, "n01")); !errors.Is(err, ErrClosed) {
		t.Errorf("Apply after Close: %v", err)
	}
	again := open(t, dir)
	check(again)
	third := apply(t, again, put(t, KindNode, "n03", 3))
	if third.Version.Compare(second.Version) <= 0 {
		t.Errorf("after reopening, version %v is not after %v", third.Version, second.Version)
	}
}

func TestApplyIsAllOrNothing(t *testing.T) {
	d := open(t, t.TempDir())
	v := apply(t, d, put(t, KindNode, "a", 1)).Version
	apply(t, d, put(t, KindNode, "a", 2))
	_, err := d.Apply(t.Context(), admin, put(t, KindNode, "b", 1), put(t, KindNode, "a", 3).At(v))
	if !errors.Is(err, ErrConflict) {
		t.Errorf("stale version: %v, want ErrConflict", err)
	}
	if diff := cmp.Diff(map[string]string{"a": "2"}, values(d, KindNode, "")); diff != "" {
		t.Error(diff)
	}
}

// Compare-and-set from many goroutines: every increment counts once.
func TestApplyConcurrently(t *testing.T) {
	d := open(t, t.TempDir())
	key := Key{KindSetting, "counter"}
	apply(t, d, put(t, key.Kind, key.Name, 0))
	const workers, each = 16, 20
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				for {
					r, err := d.Get(key)
					if err != nil {
						t.Error(err)
						return
					}
					n, _ := Decode[int](r)
					op, _ := Put(key.Kind, key.Name, n+1)
					_, err = d.Apply(context.Background(), admin, op.At(r.Version))
					if err == nil {
						break
					}
					if !errors.Is(err, ErrConflict) {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	if got := values(d, KindSetting, ""); got["counter"] != fmt.Sprint(workers*each) {
		t.Errorf("counter is %v, want %d", got, workers*each)
	}
}

// Many small writes at once must share syncs, or 5,000 nodes would each wait for a disk.
func TestGroupCommit(t *testing.T) {
	d := open(t, t.TempDir())
	before := transactions(t, d)
	const n = 2000
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			op, _ := Put(KindLease, fmt.Sprintf("l%d", i), i)
			if _, err := d.Apply(context.Background(), Origin{}, op); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := len(d.List(KindLease, "")); got != n {
		t.Errorf("%d records, want %d", got, n)
	}
	commits := transactions(t, d) - before
	t.Logf("%d changes at once in %d transactions", n, commits)
	if commits > n/4 {
		t.Errorf("%d transactions for %d changes at once: they do not share", commits, n)
	}
}

// transactions is how many were committed so far.
func transactions(t *testing.T, d *DB) (n int) {
	t.Helper()
	if err := d.bolt.View(func(tx *bolt.Tx) error { n = tx.ID(); return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestApplyCancelled(t *testing.T) {
	d := open(t, t.TempDir())
	d.turn <- struct{}{} // a write that takes long
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error)
	go func() {
		_, err := d.Apply(ctx, admin, put(t, KindNode, "a", 1))
		got <- err
	}()
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Errorf("Apply = %v, want Canceled", err)
	}
	<-d.turn
	apply(t, d, put(t, KindNode, "b", 1))
	if diff := cmp.Diff(map[string]string{"b": "1"}, values(d, KindNode, "")); diff != "" {
		t.Error("a cancelled change was done:", diff)
	}
}

func TestWatch(t *testing.T) {
	d := open(t, t.TempDir())
	w := d.Watch(KindNode)
	defer w.Close()
	apply(t, d, put(t, KindNode, "a", 1), put(t, KindLease, "l", 1))
	apply(t, d, put(t, KindNode, "b", 1))
	apply(t, d, put(t, KindNode, "a", 2))
	apply(t, d, Delete(KindNode, "b"))
	records, err := w.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range records {
		got = append(got, fmt.Sprintf("%s=%s %t", r.Key.Name, r.Value, r.Deleted))
	}
	if diff := cmp.Diff([]string{"a=2 false", "b= true"}, got); diff != "" {
		t.Error(diff)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if records, err := w.Next(ctx); err == nil {
		t.Errorf("Next with nothing new: %v", records)
	}
}

func TestAudit(t *testing.T) {
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	dir := t.TempDir()
	d, err := Open(Config{Dir: dir, Head: "head-1", AuditKeep: 3, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for i := range 5 {
		apply(t, d, put(t, KindNode, "a", i), put(t, KindLease, "l", i), put(t, KindSecret, "s", i))
	}
	apply(t, d, put(t, KindLease, "l", "unaudited"))
	apply(t, d, Delete(KindNode, "a"))
	want := []AuditEntry{
		{now, "head-1", "admin", "local", "", []AuditChange{{"node/a", json.RawMessage("4"), json.RawMessage("null")}}, nil},
		{now, "head-1", "admin", "local", "", []AuditChange{
			{"node/a", json.RawMessage("3"), json.RawMessage("4")},
			{"secret/s", json.RawMessage(`"(secret)"`), json.RawMessage(`"(secret)"`)},
		}, nil},
	}
	got, err := d.Audit(2)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if all, err := d.Audit(100); err != nil || len(all) != 3 {
		t.Errorf("%d entries, %v; want the last 3", len(all), err)
	}
	d.Close()
	again, err := Open(Config{Dir: dir, Head: "head-1", AuditKeep: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if all, err := again.Audit(100); err != nil || len(all) != 3 {
		t.Errorf("after reopening: %d entries, %v; want 3", len(all), err)
	}
}

func TestNote(t *testing.T) {
	d := open(t, t.TempDir())
	w := d.Follow()
	defer w.Close()
	if err := d.Note(t.Context(), admin, "node exec n[01-02]: uname"+strings.Repeat("é", maxNote)); err != nil {
		t.Fatal(err)
	}
	log, err := d.Audit(2)
	if err != nil || len(log) != 1 || log[0].Who != "admin" || !strings.HasPrefix(log[0].Note, "node exec n[01-02]: uname") || len(log[0].Note) > maxNote {
		t.Errorf("%+v, %v", log, err)
	}
	if records, seq, err := w.NextSeq(t.Context()); err != nil || len(records) != 1 || seq != 1 {
		t.Errorf("who follows hears %v, %d, %v", records, seq, err)
	}
}

func TestTombstonesAreForgotten(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	apply(t, d, put(t, KindLease, "a", 1), put(t, KindLease, "b", 1), put(t, KindLease, "c", 1))
	gone := apply(t, d, Delete(KindLease, "a"), Delete(KindLease, "b")).Version.HLC
	apply(t, d, Delete(KindLease, "c"))
	apply(t, d, put(t, KindLease, "b", 2))
	if _, err := d.SetHorizon(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	check := func(d *DB) {
		t.Helper()
		var got []string
		for _, r := range d.index.all() {
			got = append(got, fmt.Sprintf("%s %t", r.Key, r.Deleted))
		}
		slices.Sort(got)
		if diff := cmp.Diff([]string{"lease/b false", "lease/c true", "setting/tombstone-horizon false"}, got); diff != "" {
			t.Error(diff)
		}
		if s := d.Summary(); s.Horizon != gone || s.Records != 3 || s.Root != rootOf(everything(t, d)) {
			t.Errorf("%+v, want horizon %x", s, gone)
		}
	}
	check(d)
	d.Close()
	check(open(t, dir))
}

func BenchmarkApply(b *testing.B) {
	for _, parallel := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("%d at once", parallel), func(b *testing.B) {
			d, err := Open(Config{Dir: b.TempDir(), Head: "head-1"})
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			var wg sync.WaitGroup
			work := make(chan int)
			for range parallel {
				wg.Go(func() {
					for i := range work {
						op, _ := Put(KindLease, fmt.Sprintf("l%d", i%5000), i)
						if _, err := d.Apply(context.Background(), Origin{}, op); err != nil {
							b.Error(err)
						}
					}
				})
			}
			for i := range b.N {
				work <- i
			}
			close(work)
			wg.Wait()
		})
	}
}
