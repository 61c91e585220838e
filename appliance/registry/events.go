package registry

import (
	"context"
	"sync"

	"masthead/node/wire"
)

// keepLog is how many events of all machines are kept: an hour of a large cluster that boots.
const keepLog = 8192

// Log is the last events of the cluster, numbered from 1. Followers who are slow miss the oldest and hold up nobody.
type Log struct {
	mu      sync.Mutex
	ring    []wire.Event
	next    uint64        // number of the next event, less one
	changed chan struct{} // closed by the next event
}

func newLog() *Log { return &Log{changed: make(chan struct{})} }

func (l *Log) add(e wire.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ring) < keepLog {
		l.ring = append(l.ring, e)
	} else {
		l.ring[l.next%keepLog] = e
	}
	l.next++
	close(l.changed)
	l.changed = make(chan struct{})
}

// After gives the events with numbers above since, the oldest first, and the number of the last. It does not block.
func (l *Log) After(since uint64) ([]wire.Event, uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.after(since), l.next
}

func (l *Log) after(since uint64) []wire.Event {
	since = min(since, l.next)
	since = max(since, l.next-uint64(len(l.ring)))
	out := make([]wire.Event, 0, l.next-since)
	for n := since; n < l.next; n++ {
		out = append(out, l.ring[n%keepLog])
	}
	return out
}

// Last gives the last n events, the oldest first.
func (l *Log) Last(n int) []wire.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.after(l.next - min(uint64(n), l.next))
}

// Next is After that waits until there is an event, or ctx ends.
func (l *Log) Next(ctx context.Context, since uint64) ([]wire.Event, uint64, error) {
	for {
		l.mu.Lock()
		events, last, changed := l.after(since), l.next, l.changed
		l.mu.Unlock()
		if len(events) > 0 {
			return events, last, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, last, ctx.Err()
		}
	}
}
