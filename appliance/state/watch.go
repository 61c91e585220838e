package state

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
)

// Watch is one follower of changes. It never holds up a writer: a follower that is slow gets only the last record of
// each key that changed meanwhile.
type Watch struct {
	hub   *hub
	kinds []Kind
	own   bool // only what this head's Apply wrote

	mu      sync.Mutex
	pending map[Key]Record
	seq     uint64
	wake    chan struct{} // one token: pending is not empty
}

// Next waits for changes and gives them in the order of their versions, tombstones among them. What a peer's state had
// and lost without a tombstone comes as one too. It ends with ctx's error.
func (w *Watch) Next(ctx context.Context) ([]Record, error) {
	records, _, err := w.NextSeq(ctx)
	return records, err
}

// NextSeq is Next, and says how far the commits of this head had come: all that they wrote up to seq is in what the
// Watch gave so far. It is meant for Follow.
func (w *Watch) NextSeq(ctx context.Context) (records []Record, seq uint64, err error) {
	select {
	case <-w.wake:
	case <-ctx.Done():
		return nil, 0, ctx.Err()
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
	return changed, w.seq, nil
}

// Close ends the watch.
func (w *Watch) Close() { w.hub.remove(w) }

func (w *Watch) push(records []Record, seq uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seq = seq
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
	seq     atomic.Uint64 // commits of this head's Apply so far; changed with mu held
}

func (h *hub) add(kinds []Kind, own bool) *Watch {
	w := &Watch{hub: h, kinds: kinds, own: own, pending: map[Key]Record{}, wake: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	w.seq = h.seq.Load()
	h.watches[w] = true
	return w
}

func (h *hub) remove(w *Watch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watches, w)
}

// publish gives what changed to those who watch all, and own, which this head's Apply wrote, to those who follow that.
func (h *hub) publish(changed, own []Record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	seq := h.seq.Load()
	if len(own) > 0 {
		seq = h.seq.Add(1)
	}
	for w := range h.watches {
		if w.own {
			w.push(own, seq)
		} else {
			w.push(changed, seq)
		}
	}
}

func (h *hub) position() uint64 { return h.seq.Load() }
