package ownership

import (
	"context"
	"sync"
	"time"

	"masthead/node/wire"
)

// keptEvents is as many events as a status shows and a reader may have missed.
const keptEvents = 256

// eventLog keeps the last events. It may be used from several goroutines.
type eventLog struct {
	mu     sync.Mutex
	head   string
	seq    uint64
	kept   []wire.OwnerEvent
	signal chan struct{} // closed and replaced at each event
}

func newEventLog(head string) *eventLog {
	// The first number is above those of a daemon before, so that its readers miss none of this one's events.
	return &eventLog{head: head, seq: uint64(time.Now().UnixMilli()) << 8, signal: make(chan struct{})}
}

func (l *eventLog) add(at time.Time, kind, text string, bad bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq++
	l.kept = append(l.kept, wire.OwnerEvent{Seq: l.seq, Time: at, Head: l.head, Kind: kind, Text: text, Bad: bad})
	if n := len(l.kept) - keptEvents; n > 0 {
		l.kept = append([]wire.OwnerEvent(nil), l.kept[n:]...)
	}
	close(l.signal)
	l.signal = make(chan struct{})
}

// last are the newest n events, oldest first.
func (l *eventLog) last(n int) []wire.OwnerEvent {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]wire.OwnerEvent(nil), l.kept[max(0, len(l.kept)-n):]...)
}

// after are the events with a number above seq. It waits for one until ctx ends; then there are none.
func (l *eventLog) after(ctx context.Context, seq uint64) []wire.OwnerEvent {
	for {
		l.mu.Lock()
		var all []wire.OwnerEvent
		for _, e := range l.kept {
			if e.Seq > seq {
				all = append(all, e)
			}
		}
		signal := l.signal
		l.mu.Unlock()
		if len(all) > 0 {
			return all
		}
		select {
		case <-signal:
		case <-ctx.Done():
			return nil
		}
	}
}
