package cluster

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"masthead/images"
)

// writer writes ascending numbers, wherever the database answers, and keeps those that were acknowledged.
type writer struct {
	cluster *Cluster

	mu    sync.Mutex
	last  int64
	acked []int64
	by    map[string]int // of each head
}

// writeWithin bounds a write: one to a head that is frozen hangs.
const writeWithin = 2 * time.Second

// start begins to write. stop waits for the end of it, and may be called twice.
func (w *writer) start(t *testing.T) (stop func()) {
	w.by = map[string]int{}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for _, head := range w.cluster.Named(images.RoleHead) {
		all.Go(func() { w.run(ctx, head) })
	}
	return func() { cancel(); all.Wait() }
}

// run writes to one head while its database answers.
func (w *writer) run(ctx context.Context, head string) {
	var db *mysql
	for ctx.Err() == nil {
		if db == nil {
			var err error
			if db, err = dialMySQL(w.cluster.Machine(head).Forward("mysql"), "writer", "lab", writeWithin); err != nil {
				db = nil
				_ = hold(ctx, 100*time.Millisecond) // ends with ctx
				continue
			}
		}
		id := w.next()
		if err := db.exec(fmt.Sprintf("insert into w values (%d)", id), writeWithin); err != nil {
			db.close()
			db = nil
			continue
		}
		w.acknowledge(head, id)
	}
	if db != nil {
		db.close()
	}
}

func (w *writer) next() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last++
	return w.last
}

func (w *writer) acknowledge(head string, id int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acked = append(w.acked, id)
	w.by[head]++
}

func (w *writer) acknowledged() []int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.acked)
}

func (w *writer) tried() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

// await waits until a head has acknowledged some more writes.
func (w *writer) await(t *testing.T, head string, more int) {
	t.Helper()
	count := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.by[head]
	}
	want := count() + more
	eventually(t, bootTime, fmt.Sprintf("%d writes to %s", more, head), func(context.Context) error {
		if n := count(); n < want {
			return fmt.Errorf("%d of %d", n, want)
		}
		return nil
	})
}
