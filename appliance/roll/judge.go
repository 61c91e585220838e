package roll

import (
	"fmt"
	"time"

	"masthead/images"
	"masthead/node/wire"
)

// Begun is a node of a wave as it was when the wave began.
type Begun struct {
	Boot  string        // id of its boot
	Image images.Digest // that it is to come up with
	Told  bool          // it was told to restart; else it starts by itself
}

// State is how a node of a wave stands.
type State int

const (
	Waiting State = iota
	Good          // it is up with the image
	Bad           // it will not be
)

// Judge says how a node of a wave stands, elapsed after the wave began, and why if that is bad. A node that was told to
// restart and whose boot fails is bad at once; one that failed before gets all of the time, since its next boot may have
// been under way when the image changed.
func Judge(b Begun, n wire.Node, elapsed, timeout time.Duration) (State, string) {
	again := n.Boot != "" && n.Boot != b.Boot
	switch {
	case n.Phase == wire.PhaseUp && again && n.Running == b.Image, n.Phase == wire.PhaseUp && !b.Told && n.Running == b.Image:
		return Good, ""
	case n.Phase == wire.PhaseUp && again && b.Told:
		return Bad, fmt.Sprintf("it came up with %s, want %s", n.Running.Short(), b.Image.Short())
	case n.Phase == wire.PhaseFailed && again && b.Told:
		return Bad, "its boot failed" + at(n)
	case elapsed < timeout:
		return Waiting, ""
	case n.Phase == wire.PhaseUp && !again:
		return Bad, fmt.Sprintf("it has not restarted within %v", timeout)
	}
	return Bad, fmt.Sprintf("it is not up after %v: %s%s", timeout, n.Phase, at(n))
}

func at(n wire.Node) string {
	if n.Stage == "" {
		return ""
	}
	return " at stage " + string(n.Stage)
}

// Stop reports whether so many bad nodes end a roll that bears at most maxFailed.
func Stop(failed, maxFailed int) bool { return failed > maxFailed }
