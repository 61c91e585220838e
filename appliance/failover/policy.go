package failover

import "time"

// Loss is what a pair without fencing does when everything about the owner is silent at once, which a power cut and a cut
// of all cables look like.
type Loss uint8

const (
	Safe      Loss = iota // block, and tell a person: for replicated data
	Available             // take over: for a virtual address alone, where two owners do no lasting harm
)

func (l Loss) String() string { return [...]string{"safe", "available"}[min(l, 1)] }

// Policy is the configuration of Decide.
type Policy struct {
	Loss   Loss
	Timing Timing
	// AloneAtBoot accepts the risk that a head which boots alone becomes the owner while the other one, unheard, is it.
	AloneAtBoot bool
}

// Timing are the times of the protocol. Renew < TTL; Margin covers the drift of two clocks over one TTL and the time from a
// decision to the kernel.
type Timing struct {
	Suspect    time.Duration // silence on all links after which the owner is suspected
	Silence    time.Duration // silence on all links that a takeover without fencing needs
	ProbeEvery time.Duration // between two rounds of ARP probes
	Probes     int           // rounds without an answer that a takeover without fencing needs
	FenceDelay time.Duration // the standby fences so much later than the owner, so that in a parted pair the owner survives
	FenceRetry time.Duration // after a fencing that failed
	Patience   time.Duration // silence of a head that could not take over, after which the owner fences it
	TTL        time.Duration // of a lease
	Renew      time.Duration
	Margin     time.Duration
	Gate       time.Duration // longest time for which the kernel's gate is opened at once
	JoinWait   time.Duration // how long a head that boots listens for the others before it decides anything alone
	Handover   time.Duration // how long an owner that has released waits for the other to claim, before it asks for itself again
	// StopWithin is how long an orderly stop may take once the right to act is gone; then the machine is reset. 0: as Normal.
	StopWithin time.Duration
}

// Normal is the timing for networks as they are.
func Normal() Timing {
	return Timing{
		Suspect: 250 * time.Millisecond, Silence: 500 * time.Millisecond, ProbeEvery: 100 * time.Millisecond, Probes: 3,
		FenceDelay: 500 * time.Millisecond, FenceRetry: 10 * time.Second, Patience: 5 * time.Second,
		TTL: 600 * time.Millisecond, Renew: 100 * time.Millisecond, Margin: 50 * time.Millisecond, Gate: 400 * time.Millisecond,
		JoinWait: 10 * time.Second, Handover: 2 * time.Second, StopWithin: 10 * time.Second,
	}
}

// Fast halves the leases: for networks without congestion, and heads with processor time to spare.
func Fast() Timing {
	t := Normal()
	t.TTL, t.Renew, t.Margin, t.Gate = 300*time.Millisecond, 50*time.Millisecond, 30*time.Millisecond, 200*time.Millisecond
	return t
}
