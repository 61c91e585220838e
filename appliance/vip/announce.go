package vip

import (
	"time"

	"masthead/appliance/failover"
)

// schedule is when the neighbours are told, after the gate was opened: soon and often, since frames get lost and some
// switches and hosts ignore a second message within a second, then every announceEvery for those who slept.
var schedule = [...]time.Duration{
	0, 50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond,
	time.Second, 2 * time.Second, 5 * time.Second,
}

const announceEvery = time.Minute

// announceAt is when announcement n is due, after the first.
func announceAt(n int) time.Duration {
	if n < len(schedule) {
		return schedule[n]
	}
	return schedule[len(schedule)-1] + time.Duration(n-len(schedule)+1)*announceEvery
}

// announcer says when to announce. The zero value is silent.
type announcer struct {
	wanted bool
	begun  bool
	start  failover.Instant
	n      int // announcements since start
}

// want begins the schedule when due is asked next with the gate open.
func (a *announcer) want(on bool) { *a = announcer{wanted: on} }

// again begins the schedule anew, if there is one.
func (a *announcer) again() { a.want(a.wanted) }

// due reports whether to announce now; the gate is open or not.
func (a *announcer) due(now failover.Instant, open bool) bool {
	if !a.wanted || !open {
		return false
	}
	if !a.begun {
		a.begun, a.start = true, now
	}
	if now-a.start < announceAt(a.n) {
		return false
	}
	for now-a.start >= announceAt(a.n) { // those that were missed are not made up for
		a.n++
	}
	return true
}

// next is how long until due is to be asked again, unless something changes.
func (a *announcer) next(now failover.Instant) time.Duration {
	if !a.begun {
		return announceEvery
	}
	return max(0, a.start+announceAt(a.n)-now)
}
