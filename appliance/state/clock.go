package state

import (
	"errors"
	"fmt"
	"time"
)

// HLC is a hybrid logical clock reading (Kulkarni and others, 2014): 48 bits of milliseconds since 1970 and 16 bits
// that count within one. It never goes back, and is close to the wall clock as long as that does not go back.
type HLC uint64

// MaxSkew is how far ahead of ours a clock may be that we take a write from. A head with a clock in the future would
// otherwise win over every later write until the future has come.
const MaxSkew = 10 * time.Second

// ErrClockAhead is a version from a head whose clock is more than MaxSkew ahead.
var ErrClockAhead = errors.New("its clock is ahead of ours")

// HLCAt is the first reading of that instant.
func HLCAt(t time.Time) HLC { return HLC(max(0, t.UnixMilli())) << 16 }

// Time is the wall-clock part.
func (h HLC) Time() time.Time { return time.UnixMilli(int64(h >> 16)).UTC() }

// Tick gives the reading for a local event at now, later than all before it, the newest of which was last.
func (h HLC) Tick(now time.Time) HLC { return max(h+1, HLCAt(now)) }

// Observe takes notice of a reading from elsewhere: local events are after it from now on.
func (h HLC) Observe(remote HLC, now time.Time) (HLC, error) {
	if ahead := remote.Time().Sub(now); ahead > MaxSkew {
		return h, fmt.Errorf("%w by %v, at most %v", ErrClockAhead, ahead.Round(time.Millisecond), MaxSkew)
	}
	return max(h, remote), nil
}
