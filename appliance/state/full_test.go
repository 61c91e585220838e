package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
		if os.Getenv("MASTHEAD_REQUIRE") != "" {
			t.Fatalf("a tmpfs to fill: %v", err)
		}
		t.Skipf("needs root, to mount a tmpfs: %v", err)
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
