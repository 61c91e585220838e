package service

import (
	"slices"
	"time"

	"masthead/appliance/failover"
)

// op is an operation on a resource.
type op uint8

const (
	none op = iota
	check
	start
	stop
)

func (o op) String() string { return [...]string{"none", "check", "start", "stop"}[min(o, 3)] }

// condition is how a resource is, as far as this head knows.
type condition uint8

const (
	unknown condition = iota // nobody has looked yet
	stopped
	running
	broken // failed, half started, or not started by us: it is stopped before it is anything else
	stuck  // broken, and a stop has failed
)

// part is a resource of an entry.
type part struct {
	condition condition
	busy      op // under way
	began     failover.Instant
	deadline  failover.Instant // when busy must have ended
	unwanted  failover.Instant // since when the start under way is not wanted; 0: it is
	told      bool             // busy was told to break off
	// ours: it was started in this boot, by this daemon or an earlier run of it, and not stopped since; under that epoch.
	ours   bool
	epoch  uint64
	due    failover.Instant // of the next check, or of the next try to stop it
	every  time.Duration    // between two checks; 0: none
	since  failover.Instant // of condition
	reason string           // of the last failure
}

// entry is a service of the plan.
type entry struct {
	service   Service
	born      int    // order among all
	retired   bool   // it is not in the configuration any more: it stops, and is forgotten
	wish      string // Enabled, Disabled, Stopped
	barred    string // why the failover domain forbids it here
	elsewhere bool   // another head may run it
	parts     []part
	failures  []failover.Instant // within RestartWithin
	pause     failover.Instant   // no start before
	failed    string             // why it is given up here
	leave     bool               // and another head should own
	since     failover.Instant   // of its state, for people
	state     string
}

// givenUp: Recovery has disabled it, which is no reason for another head to own.
func (e *entry) givenUp() bool { return e.failed != "" && e.service.Recovery == Disable }

// untouched: nobody has looked at it, and it was not started by us.
func (e *entry) untouched() bool {
	return !slices.ContainsFunc(e.parts, func(a part) bool { return a.condition != unknown || a.busy != none || a.ours })
}

// known: every resource was looked at.
func (e *entry) known() bool {
	return !slices.ContainsFunc(e.parts, func(a part) bool { return a.condition == unknown })
}

// runs: all of it.
func (e *entry) runs() bool {
	return !slices.ContainsFunc(e.parts, func(a part) bool { return a.condition != running })
}

// down: nothing of it runs, and nothing is under way.
func (e *entry) down() bool {
	return !slices.ContainsFunc(e.parts, func(a part) bool { return a.condition != stopped || a.busy != none })
}
