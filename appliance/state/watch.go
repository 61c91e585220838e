package state

import (
	"cmp"
	"context"
	"slices"
	"sync"
)

// Watch is one follower of changes. It never holds up a writer: a follower that is slow gets only the last record of
// each key that changed meanwhile.
type Watch struct {
	hub   *hub
	kinds []Kind

	mu      sync.Mutex
	pending map[Key]Record
	wake    chan struct{} // one token: pending is not empty
}

// Next waits for changes and gives them in the order of their versions, tombstones among them. It ends with ctx's
// error.
func (w *Watch) Next(ctx context.Context) ([]Record, error) {
	select {
	case <-w.wake:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	changed := make([]Record, 0, len(w.pending))
	for _, r := range w.pending {
		changed = append(changed, r)
	}
	clear(w.pending)
	slices.SortFunc(changed, func(a, b Record) int {
		return cmp.Or(a.Version.Compare(b.Version), cmp.Compare(a.Key.String(), b.Key.String()))
	})
	return changed, nil
}

// Close ends the watch.
func (w *Watch) Close() { w.hub.remove(w) }

func (w *Watch) push(records []Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range records {
		if len(w.kinds) == 0 || slices.Contains(w.kinds, r.Key.Kind) {
			w.pending[r.Key] = r
		}
	}
	if len(w.pending) > 0 {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// hub gives changes to all who watch.
type hub struct {
	mu      sync.Mutex
	watches map[*Watch]bool
}

func (h *hub) add(kinds []Kind) *Watch {
	w := &Watch{hub: h, kinds: kinds, pending: map[Key]Record{}, wake: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watches[w] = true
	return w
}

func (h *hub) remove(w *Watch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watches, w)
}

func (h *hub) publish(records []Record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watches {
		w.push(records)
	}
}
