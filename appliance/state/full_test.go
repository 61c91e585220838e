package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"masthead/vmtest/prerequisite"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

func setFormat(b *bolt.DB, v string) error {
	return b.Update(func(tx *bolt.Tx) error { return tx.Bucket([]byte(bucketMeta)).Put([]byte(metaFormat), []byte(v)) })
}

// smallDisk is a file system of size bytes.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		prerequisite.Missing(t, "a tmpfs to fill: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// hog takes all that is left on a disk.
func hog(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "hog")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 4096)
	for {
		if _, err := f.Write(block); err != nil {
			return path
		}
	}
}

func TestFullDisk(t *testing.T) {
	dir := smallDisk(t, 6<<20)
	now := time.Now()
	d, err := Open(Config{Dir: filepath.Join(dir, "state"), Head: "head-1", ReserveSize: 1 << 20, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	apply(t, d, put(t, KindNode, "keep", "old"), put(t, KindNode, "victim", 1))
	long := strings.Repeat("version ", 20)
	apply(t, d, put(t, KindTag, "mine", long), put(t, KindTag, "theirs", long), put(t, KindTag, "mixed", long))
	hogged := hog(t, dir)
	var acked []string
	for i := 0; d.ReadOnly() == nil; i++ {
		if i > 1000 {
			t.Fatal("the disk never became full")
		}
		name := fmt.Sprintf("n%d", i)
		_, err := d.Apply(t.Context(), admin, put(t, KindNode, name, strings.Repeat("x", 10_000)))
		if err == nil {
			acked = append(acked, name)
			continue
		}
		if !errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), "the disk is full") {
			t.Fatalf("Apply on a full disk: %v, want ErrReadOnly that says so", err)
		}
	}
	_, err = d.Apply(t.Context(), admin, put(t, KindNode, "keep", "new"))
	if !errors.Is(err, ErrReadOnly) {
		t.Errorf("Apply while read-only: %v", err)
	}
	if r, err := d.Get(Key{KindNode, "keep"}); err != nil || string(r.Value) != `"old"` {
		t.Errorf("reading while read-only: %s, %v", r.Value, err)
	}
	now = now.Add(time.Hour) // what comes from other heads
	theirs := Version{1, HLCAt(now), "head-2"}
	if _, err := d.Merge(t.Context(), []Record{recordOf(KindNode, "big", `"`+strings.Repeat("x", 10_000)+`"`, theirs)}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("Merge while read-only: %v", err)
	}
	if m, err := d.Merge(t.Context(), []Record{recordOf(KindNode, "victim", "", theirs)}); err != nil || m.Taken != 1 {
		t.Errorf("merging a deletion on a full disk: %+v, %v", m, err)
	}
	// A shorter value helps too, from here and from elsewhere with what the audit log says of it, or among others.
	if _, err := d.Apply(t.Context(), admin, put(t, KindTag, "mine", "gone")); err != nil {
		t.Errorf("a shorter value on a full disk: %v", err)
	}
	if _, err := d.Apply(t.Context(), admin, put(t, KindTag, "mine", "away")); !errors.Is(err, ErrReadOnly) {
		t.Errorf("one as long as before: %v", err)
	}
	if _, err := d.Apply(t.Context(), admin, put(t, KindTag, "mixed", "gone"), put(t, KindNode, "new", 1)); !errors.Is(err, ErrReadOnly) {
		t.Errorf("a shorter value and a new one: %v", err)
	}
	said := recordOf(KindAudit, auditName(theirs), `{"time":"2026-01-02T03:04:05Z","head":"head-2","who":"admin","where":"local","changes":[]}`, theirs)
	if m, err := d.Merge(t.Context(), []Record{recordOf(KindTag, "theirs", `"gone"`, theirs), said}); err != nil || m.Taken != 2 {
		t.Errorf("merging a shorter value with its audit entry: %+v, %v", m, err)
	}
	m, err := d.Merge(t.Context(), []Record{
		recordOf(KindNode, "more", `"`+strings.Repeat("x", 10_000)+`"`, theirs), recordOf(KindTag, "mixed", `"gone"`, theirs),
		recordOf(KindNode, "keep", `"o"`, Version{1, 1, "head-2"}),
	})
	if !errors.Is(err, ErrReadOnly) || m.Taken != 1 {
		t.Errorf("merging a shorter value among others: %+v, %v; want it taken, and ErrReadOnly for the rest", m, err)
	}
	if _, err := d.Merge(t.Context(), []Record{said}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("merging an audit entry alone: %v", err)
	}
	for name, r := range values(d, KindTag, "") {
		if r != `"gone"` {
			t.Errorf("tag %s is %s", name, r)
		}
	}
	for _, name := range append([]string{"victim"}, acked...) {
		if _, err := d.Apply(t.Context(), admin, Delete(KindNode, name)); err != nil {
			t.Fatalf("deleting on a full disk: %v", err)
		}
	}
	now = now.Add(2 * retryEvery)
	if _, err := d.Apply(t.Context(), admin, put(t, KindNode, "keep", "new")); !errors.Is(err, ErrReadOnly) {
		t.Errorf("still full, but Apply says %v", err)
	}

	// A restart on a full disk works as well.
	d.Close()
	if d, err = Open(d.conf); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.ReadOnly(); !errors.Is(err, ErrReadOnly) {
		t.Errorf("reopened on a full disk: ReadOnly() = %v", err)
	}
	if got := values(d, KindNode, ""); len(got) != 1 || got["keep"] != `"old"` {
		t.Errorf("after a restart: %v", got)
	}

	if err := os.Remove(hogged); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * retryEvery)
	if _, err := d.Apply(t.Context(), admin, put(t, KindNode, "keep", "new")); err != nil {
		t.Errorf("there is room again: %v", err)
	}
	if err := d.ReadOnly(); err != nil {
		t.Errorf("there is room again: ReadOnly() = %v", err)
	}
}
