package vmtest

import (
	"context"
	"fmt"
	"sync"

	"masthead/vmtest/qmp"
)

// EventLog is what QEMU reported of one machine: RESET, SHUTDOWN, STOP, RESUME,
// WATCHDOG, GUEST_PANICKED and so on.
type EventLog struct {
	mu      sync.Mutex
	events  []qmp.Event
	dropped int // off the front
	read    int // where Expect goes on, counted from the first event ever
	changed chan struct{}
}

// maxEvents bounds a machine that resets for ever.
const maxEvents = 4096

func newEventLog() *EventLog { return &EventLog{changed: make(chan struct{})} }

func (l *EventLog) add(e qmp.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
	if len(l.events) > maxEvents {
		l.events = append([]qmp.Event(nil), l.events[maxEvents/2:]...)
		l.dropped += maxEvents / 2
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// All returns the events so far.
func (l *EventLog) All() []qmp.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]qmp.Event(nil), l.events...)
}

// Expect waits for an event of that name after the one it returned last.
func (l *EventLog) Expect(ctx context.Context, name string) (qmp.Event, error) {
	for {
		l.mu.Lock()
		for i := max(l.read-l.dropped, 0); i < len(l.events); i++ {
			if l.events[i].Name == name {
				l.read = l.dropped + i + 1
				e := l.events[i]
				l.mu.Unlock()
				return e, nil
			}
		}
		changed := l.changed
		l.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return qmp.Event{}, fmt.Errorf("expect event %s: %w", name, ctx.Err())
		}
	}
}
