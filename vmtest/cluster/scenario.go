package cluster

import (
	"context"
	"errors"
	"time"

	"masthead/vmtest"
)

// Ends is who owns the cluster after a scenario.
type Ends string

// The ends of a scenario.
const (
	Stays  Ends = "stays"  // the owner before it, which never gave up
	Moves  Ends = "moves"  // the other head
	Either Ends = "either" // one of them
)

// Scenario is a fault, and what must become of the ownership.
type Scenario struct {
	Name string `json:"name"`
	What string `json:"what"` // is injected, for people
	Ends Ends   `json:"ends"`
	// Goal is the longest silence of the virtual address that the specification allows on real hardware; 0: the fault itself
	// is longer than any takeover.
	Goal time.Duration `json:"goal,omitempty"`
	Mail bool          `json:"mail,omitempty"` // somebody must be told
	// Quick: only a processor of its own is quick enough for that end. An emulated one starts the daemon in seconds, which is
	// longer than its lease: there the other head may take over.
	Quick bool `json:"quick,omitempty"`
	// Fencing and Watchdog: the lab's heads must have management controllers, or hardware watchdogs.
	Fencing  bool `json:"fencing,omitempty"`
	Watchdog bool `json:"watchdog,omitempty"`

	// inject does it; what is left of it is mended afterwards. owner and standby are who they are before it.
	inject func(ctx context.Context, t *Takeover, owner, standby string) error
}

// Times of the scenarios. The specification's own are lease 600 ms, silence 500 ms, gate 300 ms.
const (
	moved     = 900 * time.Millisecond // a takeover: power cut to VIP
	planned   = 150 * time.Millisecond
	untouched = 100 * time.Millisecond
	// unreachable: three questions to the gateway without an answer, one a second, and a planned switch.
	unreachable = 4200 * time.Millisecond
	pauseFor    = 3 * time.Second
	holdFor     = 5 * time.Second // how long a fault that must change nothing is left
	takenIn     = 3 * time.Minute // a takeover on a host without time
	flapEvery   = 400 * time.Millisecond
	flaps       = 12
)

// Scenarios is the whole matrix, in an order in which each leaves both heads whole for the next.
func Scenarios() []Scenario {
	return []Scenario{
		{Name: "switch", What: "planned switch", Ends: Moves, Goal: planned, inject: plannedSwitch},
		{Name: "switch-back", What: "planned switch, back again", Ends: Moves, Goal: planned, inject: plannedSwitch},
		{Name: "kill", What: "kill -9 of the owner's daemon", Ends: Stays, Goal: untouched, Quick: true, inject: kill},
		{Name: "serial-cut", What: "serial cable cut", Ends: Stays, Goal: untouched, inject: serialCut},
		{Name: "loss", What: "10 % of the owner's frames lost, both ways", Ends: Stays, Goal: 2 * untouched, inject: loss},
		{Name: "standby-cut", What: "power cut of the standby", Ends: Stays, Goal: untouched, inject: standbyCut},
		{Name: "power-cut", What: "power cut of the owner", Ends: Moves, Goal: moved, Mail: true, Fencing: true, inject: powerCut},
		{Name: "reset", What: "reset button of the owner", Ends: Moves, Goal: moved, Mail: true, Fencing: true, inject: reset},
		{Name: "panic", What: "kernel panic of the owner", Ends: Moves, Goal: moved, Mail: true, Fencing: true, inject: kernelPanic},
		{Name: "stop", What: "SIGSTOP of the owner's daemon", Ends: Moves, Goal: moved + 600*time.Millisecond, Mail: true, Fencing: true, inject: stop},
		{Name: "pause", What: "owner paused for 3 s and resumed", Ends: Moves, Goal: moved, Mail: true, Fencing: true, inject: pauseAndResume},
		{Name: "lan-cut", What: "owner's network cut, serial cable alive", Ends: Moves, Goal: unreachable, Mail: true, inject: lanCut},
		{Name: "all-cut", What: "owner's network and the serial cable cut", Ends: Moves, Goal: moved, Mail: true, Fencing: true, inject: allCut},
		{Name: "flap", What: "owner's network flaps for 5 s", Ends: Either, inject: flap},
		{Name: "dead-fence", What: "power cut of the owner, its controller dead too", Ends: Moves, Mail: true, Fencing: true, inject: deadFence},
		{Name: "watchdog", What: "owner's daemon stopped, nobody can fence it", Ends: Either, Mail: true, Fencing: true, Watchdog: true, inject: bitten},
		{Name: "cold-boot", What: "power cut of both, both on again", Ends: Either, inject: coldBoot},
		{Name: "stale-master", What: "who was off when the other one owned boots alone", Ends: Moves, Mail: true, Fencing: true, inject: staleMaster},
	}
}

// Impossible is why a lab cannot show a scenario; empty: it can.
func (s Scenario) Impossible(config vmtest.Config) string {
	for _, m := range config.Machines {
		switch {
		case m.Role != "head":
		case s.Fencing && m.Management == 0:
			return "the heads have no management controllers"
		case s.Watchdog && m.Watchdog == "":
			return "the heads have no hardware watchdog"
		}
	}
	if len(config.Cables) == 0 && (s.Name == "serial-cut" || s.Name == "lan-cut") {
		return "there is no serial cable"
	}
	return ""
}

// hold waits, so that a fault has the time to be noticed.
func hold(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// fate makes an error of how a head ended a command: a head that dies of it does not answer.
func fate(ctx context.Context, _ error) error { return ctx.Err() }

var errNotBitten = errors.New("the watchdog did not reset the machine")
