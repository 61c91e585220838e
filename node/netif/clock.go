package netif

import (
	"time"

	"golang.org/x/sys/unix"
)

// sinceBoot is the clock of leases: it does not jump when the time of day is set, runs on while the machine is
// suspended, and is the same for init and the agent.
func sinceBoot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0 // the kernel has it since 2.6.39
	}
	return time.Duration(ts.Nano())
}
