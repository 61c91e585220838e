package data

import (
	"time"

	"masthead/appliance/failover"
)

// attestTime is how long the copies must still be connected after somebody was seen, before that one counts as having been there
// while they were. DRBD takes a peer that is gone for connected until a ping is not answered (ping-int and ping-timeout: 1.2 s), and
// a machine that was paused does so after it goes on, when the other head may have owned long since.
const attestTime = 2 * time.Second

// attestGap is how long nobody may have looked meanwhile: a machine that stood still takes what it knew for true when it goes on.
const attestGap = 500 * time.Millisecond

// Attested is who was there when the copies were last connected, and certainly so. The zero value is nobody.
type Attested[T any] struct {
	Last T // attested; zero: nobody is yet

	candidate T
	since     failover.Instant
	seen      failover.Instant
	waits     bool
}

// See takes whether the copies count as connected at now, and who is there.
func (a *Attested[T]) See(connected bool, there func() T, now failover.Instant) {
	seen := a.seen
	a.seen = now
	switch {
	case !connected:
		a.waits = false
		return
	case now-seen > attestGap:
	case a.waits && now-a.since < attestTime:
		return
	case a.waits:
		a.Last = a.candidate
	}
	a.candidate, a.since, a.waits = there(), now, true
}
