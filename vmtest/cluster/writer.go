package cluster

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"masthead/images"
)

// Writer writes ascending numbers from outside of the heads, wherever their database answers, and keeps those that were
// acknowledged.
type Writer struct {
	pause atomic.Int64 // nanoseconds

	mu    sync.Mutex
	last  int64
	acked []int64
	by    map[string]int // of each head
}

// writeWithin bounds a write: one to a head that is frozen hangs.
const writeWithin = 5 * time.Second

// Run writes to the heads of a lab that forward MySQLPort, until ctx ends. It blocks.
func (w *Writer) Run(ctx context.Context, c *Cluster) {
	var all sync.WaitGroup
	for _, head := range c.Named(images.RoleHead) {
		all.Go(func() { w.to(ctx, head, c.Machine(head).Forward(MySQLPort)) })
	}
	all.Wait()
}

// to writes to one head while its database answers.
func (w *Writer) to(ctx context.Context, head, addr string) {
	var db *mysql
	for ctx.Err() == nil {
		if db == nil {
			var err error
			if db, err = dialMySQL(addr, "writer", "lab", writeWithin); err != nil {
				db = nil
				_ = hold(ctx, 100*time.Millisecond) // ends with ctx
				continue
			}
		}
		id := w.next()
		if err := db.insert(id, writeWithin); err != nil {
			db.close()
			db = nil
			continue
		}
		w.acknowledge(head, id)
		_ = hold(ctx, time.Duration(w.pause.Load())) // ends with ctx
	}
	if db != nil {
		db.close()
	}
}

// SetPause has it wait between two writes to a head, also while it runs. Without a pause the writes take all of two emulated
// processors: a head that starts meanwhile takes three times as long.
func (w *Writer) SetPause(d time.Duration) { w.pause.Store(int64(d)) }

func (w *Writer) next() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last++
	return w.last
}

func (w *Writer) acknowledge(head string, id int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.by == nil {
		w.by = map[string]int{}
	}
	w.acked = append(w.acked, id)
	w.by[head]++
}

// Acknowledged are the numbers that were, in that order.
func (w *Writer) Acknowledged() []int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.acked)
}

// Tried is how many writes were begun.
func (w *Writer) Tried() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

// Await waits until a head has acknowledged some more writes.
func (w *Writer) Await(ctx context.Context, within time.Duration, head string, more int) error {
	count := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.by[head]
	}
	want := count() + more
	return await(ctx, within, fmt.Sprintf("%d writes to %s", more, head), func(context.Context) error {
		if n := count(); n < want {
			return fmt.Errorf("%d to go", want-n)
		}
		return nil
	})
}
