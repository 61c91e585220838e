package rootdev

import (
	"fmt"
	"sync"
	"time"

	"masthead/node/wire"
)

const (
	keptEvents   = 32 // for whoever comes later: the agent starts after the root is mounted
	queuedEvents = 64 // for one who listens; more are lost to it
)

// eventLog keeps the last events and hands new ones on.
type eventLog struct {
	notify func(wire.Event) // nil: nobody

	mu        sync.Mutex
	kept      []wire.Event
	listeners map[chan wire.Event]bool
}

func newEventLog(notify func(wire.Event)) *eventLog {
	return &eventLog{notify: notify, listeners: map[chan wire.Event]bool{}}
}

// add never blocks.
func (l *eventLog) add(e wire.Event) {
	if l.notify != nil {
		l.notify(e)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.kept) == keptEvents {
		l.kept = append(l.kept[:0], l.kept[1:]...)
	}
	l.kept = append(l.kept, e)
	for c := range l.listeners {
		select {
		case c <- e:
		default:
		}
	}
}

// say adds an event of something that went wrong.
func (l *eventLog) say(format string, args ...any) {
	l.add(wire.Event{Time: time.Now(), Kind: "root", Text: fmt.Sprintf(format, args...), Failed: true})
}

// listen gives the kept events and a channel for those to come; leave ends that.
func (l *eventLog) listen() (kept []wire.Event, next <-chan wire.Event, leave func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := make(chan wire.Event, queuedEvents)
	l.listeners[c] = true
	return append([]wire.Event(nil), l.kept...), c, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.listeners, c)
	}
}
