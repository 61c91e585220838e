package registry

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"masthead/appliance/state"
)

// Addresses and names are given away once. Each falls into a slot (state.SlotOf), and only the head that the state
// names for that slot gives it away: its disk is where two who want the same thing meet, also when the cluster is cut in
// two. What nobody else can be given, such as a name made of the machine's own MAC address, needs no head.

const (
	// askTime bounds one question to another head: it writes to its disk and asks its peers in that time.
	askTime = 2 * time.Second
	// awayTime is how long a head that did not answer is not asked again. Membership finds out in less.
	awayTime = 5 * time.Second
	// maxConflicts is how often a change is tried that somebody else makes at the same time, with pauses that grow to
	// lastPause: what the other wrote must come here first.
	maxConflicts = 12
	firstPause   = 5 * time.Millisecond
	lastPause    = 200 * time.Millisecond
)

// away remembers the heads that did not do what they were asked to.
type away struct {
	mu    sync.Mutex
	until map[string]time.Time
}

func (a *away) note(head string, until time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.until == nil {
		a.until = map[string]time.Time{}
	}
	a.until[head] = until
}

func (a *away) is(head string, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return now.Before(a.until[head])
}

// awayError is something that only a head can give away which does not answer, or cannot write.
type awayError struct {
	head string // empty: no head holds the slot
	err  error  // nil: it was not asked
}

func (e *awayError) Error() string {
	switch {
	case e.head == "":
		return "no head holds the part of the names and addresses that it belongs to"
	case e.silent():
		return fmt.Sprintf("only %s may give it away, which does not answer", e.head)
	}
	return fmt.Sprintf("only %s may give it away, which did not: %v", e.head, e.err)
}

// silent reports whether it said nothing: it was not asked, or the question did not come through.
func (e *awayError) silent() bool {
	var call *url.Error
	return e.err == nil || errors.Is(e.err, context.DeadlineExceeded) || errors.As(e.err, &call)
}

func (e *awayError) Unwrap() []error {
	if e.err == nil {
		return []error{ErrConflict}
	}
	return []error{ErrConflict, e.err}
}

// Try says what helps.
func (e *awayError) Try() string {
	if e.head == "" {
		return "masthead head list"
	}
	return fmt.Sprintf("choose another one, start %s again, or, if it is dead for good: masthead head eject %s", e.head, e.head)
}

// owner is the head that gives away what falls into a slot, or why nobody does. It takes no lock.
func (r *Registry) owner(slot int) (string, error) { return r.ownerBy(slot, r.reachable) }

func (r *Registry) ownerBy(slot int, reachable func(head string) bool) (string, error) {
	if r.conf.Head == "" {
		return "", nil
	}
	rec, err := r.conf.Store.Get(state.Key{Kind: state.KindSlot, Name: state.SlotName(slot)})
	if errors.Is(err, state.ErrNotFound) {
		if len(r.conf.Store.List(state.KindHead, "")) <= 1 {
			return r.conf.Head, nil
		}
		return "", &awayError{}
	}
	if err != nil {
		return "", err
	}
	s, err := state.Decode[state.Slot](rec)
	if err != nil {
		return "", err
	}
	if s.Head != r.conf.Head && !reachable(s.Head) {
		return s.Head, &awayError{head: s.Head}
	}
	return s.Head, nil
}

func (r *Registry) reachable(head string) bool {
	return r.conf.ApplyAt != nil && r.alive(head) && !r.away.is(head, r.conf.Now())
}

func (r *Registry) alive(head string) bool {
	return head == r.conf.Head || r.conf.HeadAlive == nil || r.conf.HeadAlive(head)
}

// slots gives the slots of which something can be given away now, and those that are this head's own.
func (r *Registry) slots() (may, own uint64) {
	asked := map[string]bool{}
	reachable := func(head string) bool {
		yes, ok := asked[head]
		if !ok {
			yes = r.reachable(head)
			asked[head] = yes
		}
		return yes
	}
	for slot := range state.Slots {
		if head, err := r.ownerBy(slot, reachable); err == nil {
			may |= 1 << slot
			if head == r.conf.Head {
				own |= 1 << slot
			}
		}
	}
	return may, own
}

// MayGive tells whether an address can be given away now: whether the head that does it answers.
func (r *Registry) MayGive(addr netip.Addr) bool {
	_, err := r.owner(state.SlotOf(addr.String()))
	return err == nil
}

// IsHead tells whether an address is a configured head's.
func (r *Registry) IsHead(addr netip.Addr) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, h := range r.heads {
		if h.Address == addr {
			return true
		}
	}
	return false
}

// AllHeads tells whether every configured head answers. While one does not, it may know more of what has run out here:
// it may have renewed a lease.
func (r *Registry) AllHeads() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for name := range r.heads {
		if !r.alive(name) {
			return false
		}
	}
	return true
}

// applyAt makes a change on the head that gives away what it is about, and takes it in. degraded, if not empty, is why
// only one head has it. No lock is held.
func (r *Registry) applyAt(ctx context.Context, head string, o state.Origin, ops []state.Op) (degraded string, err error) {
	if head == r.conf.Head {
		ack, err := r.conf.Store.Apply(ctx, o, ops...)
		if err != nil {
			return "", err
		}
		for _, op := range ops {
			if err := r.take(state.Record{Key: op.Key, Value: op.Value, Deleted: op.Value == nil, Version: ack.Version}); err != nil {
				return "", err
			}
		}
		return ack.Degraded, nil
	}
	asked, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	ack, records, err := r.conf.ApplyAt(asked, head, o, ops...)
	switch {
	case err == nil:
	case errors.Is(err, state.ErrConflict), ctx.Err() != nil:
		return "", fmt.Errorf("on %s: %w", head, err)
	default:
		r.away.note(head, r.conf.Now().Add(awayTime))
		return "", &awayError{head, err}
	}
	for _, rec := range records {
		if err := r.take(rec); err != nil {
			return "", err
		}
	}
	return ack.Degraded, nil
}

// pause waits before a change is tried again that somebody else made first.
func pause(ctx context.Context, tries int) error {
	if tries == 0 {
		return ctx.Err() // it was made here: memory has it
	}
	select {
	case <-time.After(min(firstPause<<tries, lastPause)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
