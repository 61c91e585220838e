package gossip

import (
	"fmt"
	"sync"
	"time"

	"masthead/appliance/state"
)

// Clock is the wall clock as versions use it. When it is set forward by more than state.MaxSkew, which the monotonic
// clock shows, versions go on with the time that it would be, until another head's clock says that the new time is
// right: a wrong time in the future would win over all later writes. Without other heads every time is right.
type Clock struct {
	wall  func() time.Time
	start time.Time // for the monotonic clock

	mu    sync.Mutex
	alone bool // no other head is configured
	base  stepped
	held  time.Duration // by how much the wall clock is ahead of what versions use
}

// NewClock makes a Clock of a wall clock; nil is time.Now.
func NewClock(wall func() time.Time) *Clock {
	if wall == nil {
		wall = time.Now
	}
	now := wall().Round(0)
	return &Clock{wall: wall, start: time.Now(), alone: true, base: stepped{wall: now}}
}

// Now is the time for versions.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	wall := c.wall().Round(0) // without the monotonic reading, which would hide that it was set
	c.base, c.held = c.base.look(wall, time.Since(c.start), c.alone)
	return wall.Add(-c.held)
}

// Held is by how much the wall clock was set forward without another head's agreement.
func (c *Clock) Held() time.Duration {
	c.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held
}

// raw is the wall clock as it is.
func (c *Clock) raw() time.Time { return c.wall().Round(0) }

// agreed: another head's clock says that the wall clock is right.
func (c *Clock) agreed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.base, c.held = stepped{c.wall().Round(0), time.Since(c.start)}, 0
}

func (c *Clock) setAlone(alone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.alone = alone
}

// stepped is a reading of both clocks at an instant when the wall clock was taken for right.
type stepped struct {
	wall time.Time
	mono time.Duration
}

// look compares the clocks' readings with those, and says how much of the wall clock's is to be held back. Pure.
func (s stepped) look(wall time.Time, mono time.Duration, alone bool) (stepped, time.Duration) {
	ahead := wall.Sub(s.wall) - (mono - s.mono)
	if alone || ahead < 0 { // set back: harmless, since an HLC never goes back
		return stepped{wall, mono}, 0
	}
	if ahead > state.MaxSkew {
		return s, ahead
	}
	return s, 0
}

// sample is one look at another head's clock (RFC 5905, section 8).
type sample struct {
	at     time.Time     // when
	offset time.Duration // by which theirs is ahead of our wall clock
	delay  time.Duration // of the network, there and back: the offset is right to half of it
}

// sampleOf computes it of four readings: we sent, they received, they answered, we received.
func sampleOf(at, t0, t1, t2, t3 time.Time) sample {
	return sample{at, (t1.Sub(t0) + t2.Sub(t3)) / 2, max(0, t3.Sub(t0)-t2.Sub(t1))}
}

// offsets are the last samples of one head.
type offsets []sample

const (
	keepSamples = 4
	sampleSlack = 50 * time.Millisecond // between two samples of clocks that nobody set: drift and scheduling
)

// add appends a sample. When it cannot be of the same clocks as those before, one was set, and those are forgotten.
func (o offsets) add(s sample) offsets {
	if b, ok := o.best(); ok && (s.offset-b.offset).Abs() > (s.delay+b.delay)/2+sampleSlack {
		o = nil
	}
	o = append(o, s)
	return o[max(0, len(o)-keepSamples):]
}

// best is the sample with the least delay, which hides least.
func (o offsets) best() (sample, bool) {
	if len(o) == 0 {
		return sample{}, false
	}
	best := o[0]
	for _, s := range o[1:] {
		if s.delay <= best.delay {
			best = s
		}
	}
	return best, true
}

// clockError is why this head does not write: nobody would take it.
type clockError struct {
	by   time.Duration
	head string // the one whose clock is nearest to ours
}

func (e *clockError) Error() string {
	return fmt.Sprintf("this head's clock is %v ahead of that of every other head that answers (the nearest is %s): nothing was written",
		e.by.Round(time.Millisecond), e.head)
}

func (e *clockError) Unwrap() error { return state.ErrClockAhead }

// Try says what helps.
func (e *clockError) Try() string {
	return "set the clock: `chronyc makestep`, or `date -s TIME`; `masthead head list -l` shows all heads' clocks"
}

// aheadOfAll decides whether our clock is ahead of all others by more than state.MaxSkew; offsets are by how much
// theirs are ahead of the one that our versions use. Without others it is not. Pure.
func aheadOfAll(theirs map[string]time.Duration) error {
	var worst *clockError
	for head, offset := range theirs {
		if -offset <= state.MaxSkew {
			return nil
		}
		if worst == nil || -offset < worst.by {
			worst = &clockError{-offset, head}
		}
	}
	if worst == nil {
		return nil
	}
	return worst
}

// behind decides whether what we write would be taken for something that was deleted and forgotten: when we lack what
// the others have, among it the versions that would keep ours above it, and our clock was set back. Pure.
func behind(ours state.Summary, horizon state.HLC, wall time.Time, head string) error {
	if ours.Complete || max(ours.Newest, state.HLCAt(wall)) > horizon {
		return nil
	}
	return &behindError{horizon.Time().Sub(wall), head}
}

// behindError is why a head that is not complete does not write.
type behindError struct {
	by   time.Duration
	head string
}

func (e *behindError) Error() string {
	return fmt.Sprintf("this head lacks a part of the state, and its clock is %v behind what %s has forgotten: nothing was written",
		e.by.Round(time.Millisecond), e.head)
}

func (e *behindError) Unwrap() error { return state.ErrClockAhead } // of the two clocks theirs is the one ahead

// Try says what helps.
func (e *behindError) Try() string { return (&clockError{}).Try() }
