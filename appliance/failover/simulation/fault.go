package simulation

import (
	"fmt"
	"time"
)

// What is the kind of a fault.
type What uint8

const (
	PowerCut     What = iota // of machine A; power comes back after For
	Reset                    // of machine A
	Panic                    // the kernel of A hangs, silent, until the watchdog or X ms later a reset
	Pause                    // of virtual machine A
	Stopped                  // SIGSTOP of the daemon of A
	Killed                   // kill -9 of the daemon of A, restarted after X ms
	Storm                    // Killed X times, a moment after each start
	Starved                  // the daemon of A gets no processor for up to X ms at a time
	Quit                     // the daemon of A ends in order, restarted after X ms
	LANCut                   // of A: X 0 both ways, 1 what it sends, 2 what it hears, 3 the cable is out
	Parted                   // the LAN falls in two: X is the set of nodes on one side
	OneWay                   // nothing from A to B on the LAN
	DirectCut                // as LANCut, of the NIC between the heads
	SerialCut                // X 0 both ways, 1 from A, 2 to A
	AllCut                   // every way between the heads A and B; X 1: only from A to B
	Flapping                 // the LAN of A goes and comes each X ms
	Lossy                    // the LAN of A (or of all, A -1) loses X percent
	DirectLossy              // the direct cable loses X percent
	SerialLossy              // the serial cable garbles X percent
	Delayed                  // the LAN of A delays up to X ms, and so reorders
	Doubled                  // the LAN of A duplicates
	DiskFull                 // of A
	DiskSlow                 // each write of A takes X ms
	DiskUnread               // of A: a daemon that starts cannot read its record
	FenceHangs               // the device of machine A never answers
	FenceFails               // it says that it failed, and did nothing
	FenceLies                // it says that it failed, and switched the machine off
	WitnessDown              // the witnesses in set X lose their power, and their memory
	WitnessMute              // the witnesses in set X are unreachable
	Foreign                  // a third machine answers for the VIP
	StartFails               // services on A cannot be started
	StopFails                // services on A cannot be stopped
	ServicesSlow             // services on A take X ms more
	Unhealthy                // a monitor of A asks for a failover
	Switch                   // an operator asks A for a planned switch, if A owns
	GatewayDown              // the gateway is gone
	ConnectFails             // A is slow: `drbdadm up` gives `connect` five seconds, and fails on the way
	whats                    // how many there are
)

var whatNames = [whats]string{
	"power cut", "reset", "kernel panic", "virtual machine paused", "SIGSTOP", "kill -9", "restart storm", "starved", "daemon ends in order",
	"LAN cut", "LAN parted", "LAN one way", "direct NIC cut", "serial cut", "all links cut", "LAN flapping", "LAN lossy", "direct NIC lossy",
	"serial garbled", "LAN delayed", "LAN doubles", "disk full", "disk slow", "disk unreadable", "fence device hangs",
	"fence device fails", "fence device lies", "witnesses lose power", "witnesses unreachable", "foreign VIP", "services do not start",
	"services do not stop", "services slow", "unhealthy", "operator: switch", "gateway down", "data does not connect",
}

func (w What) String() string { return whatNames[w] }

// Fault is one entry of a schedule. At counts from the moment at which the cluster had an owner; For 0: it is never healed.
type Fault struct {
	What    What
	At, For time.Duration
	A, B    int
	X       int
}

func (f Fault) String() string {
	s := fmt.Sprintf("%v at %v", f.What, f.At)
	switch f.What {
	case WitnessDown, WitnessMute, DirectLossy, SerialLossy, GatewayDown, Foreign:
	case OneWay, AllCut:
		s += fmt.Sprintf(", %s to %s", nameOf(f.A), nameOf(f.B))
	default:
		s += ", " + nameOf(f.A)
	}
	if f.X != 0 {
		s += fmt.Sprintf(", x=%d", f.X)
	}
	if f.For == 0 {
		return s + ", never healed"
	}
	return s + fmt.Sprintf(", for %v", f.For)
}

func nameOf(a int) string {
	if a < 0 {
		return "all"
	}
	return headNames[a]
}

var headNames = [maxHeads]string{"head1", "head2", "head3", "head4", "head5"}

// momentary says that the fault is a stroke: nothing is left to heal at its end.
func (w What) momentary() bool {
	switch w {
	case Reset, Panic, Killed, Storm, Quit, Switch:
		return true
	}
	return false
}
