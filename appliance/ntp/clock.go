package ntp

import (
	"time"

	"golang.org/x/sys/unix"
)

const (
	// StratumFree is that of a clock that follows nobody: behind every real source that a machine may know besides us, as
	// usual for such servers (chrony.conf(5), local).
	StratumFree = 10
	// StratumKept is that of a clock that a daemon of this head keeps. The kernel does not know whom the daemon follows;
	// public servers are 1 or 2, so the head is 3 or 4 at best, and we are not better than that.
	StratumKept = 4
	// precision is 2^-20 s, a microsecond: less than it takes from the card to here.
	precision = -20
	// statusTime is how long a status is good: the kernel changes it once a second at most, leap seconds are announced for
	// hours.
	statusTime = 16 * time.Second
)

// freeReference is what servers with a free clock name as their source (RFC 5905, 7.3, has no word for it: 127.127.1.x
// is the address of NTP's driver for the own clock).
var freeReference = [4]byte{127, 127, 1, 1}

// keptReference is the same driver's other name, where the source is not known.
var keptReference = [4]byte{127, 127, 1, 0}

// statusOf reads the kernel's word on its clock (adjtimex(2)). A daemon that has set the clock right takes STA_UNSYNC away
// and says by how much the clock may be wrong; the kernel lets that grow, and puts the flag back.
func statusOf(tx unix.Timex, now time.Time) Status {
	s := Status{Stratum: StratumFree, Precision: precision, Reference: freeReference, Set: now}
	if tx.Status&unix.STA_UNSYNC != 0 {
		return s
	}
	s.Stratum, s.Reference = StratumKept, keptReference
	s.Dispersion = time.Duration(tx.Maxerror) * time.Microsecond
	switch {
	case tx.Status&unix.STA_INS != 0:
		s.Leap = LeapInsert
	case tx.Status&unix.STA_DEL != 0:
		s.Leap = LeapDelete
	}
	return s
}

// kernelStatus asks the kernel; a clock that it will not speak of is a free one.
func kernelStatus(now time.Time) Status {
	var tx unix.Timex
	if _, err := unix.Adjtimex(&tx); err != nil {
		tx.Status = unix.STA_UNSYNC
	}
	return statusOf(tx, now)
}
