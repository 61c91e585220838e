package netif

import (
	"fmt"
	"time"

	"masthead/images"
)

// view is what Up knows at one moment. Durations count from its start; negative: not yet.
type view struct {
	elapsed    time.Duration
	candidates []Link // best first
	appeared   time.Duration
	carrier    time.Duration // the first on any candidate, even if it went again
	offered    bool          // a DHCP server answered acceptably
}

// step is what to do next.
type step struct {
	do    action
	until time.Duration // for wait: look again then, if nothing happens before
	why   string        // for takeStatic
	cause Cause         // for fail
}

type action int

const (
	wait action = iota
	takeStatic
	fail
)

// acceptGrace is how much longer mode auto waits for the lease once a server made an offer.
const acceptGrace = 8 * time.Second

// decide is the policy of Up, apart from taking a lease when there is one.
func decide(c Config, v view) step {
	if len(v.candidates) == 0 {
		switch {
		case v.elapsed < c.Appear:
			return step{until: c.Appear}
		case c.NIC != "":
			return step{do: fail, cause: NoSuchNIC}
		}
		return step{do: fail, cause: NoNIC}
	}
	best := v.candidates[0]
	noCarrier := v.appeared + c.Carrier
	switch {
	case c.Mode == images.IPStatic && best.Carrier:
		return step{do: takeStatic, why: "static"}
	case c.Mode == images.IPStatic && v.elapsed >= noCarrier:
		// A head whose switch still boots must come up all the same.
		return step{do: takeStatic, why: fmt.Sprintf("static, without carrier for %v", c.Carrier)}
	case c.Mode == images.IPStatic:
		return step{until: noCarrier}
	}

	if c.NIC != "" && best.InfiniBand {
		if c.Mode == images.IPAuto {
			return step{do: takeStatic, why: "static: DHCP is not spoken over InfiniBand"}
		}
		return step{do: fail, cause: NoDHCP}
	}
	if v.carrier < 0 {
		switch {
		case v.elapsed < noCarrier:
			return step{until: noCarrier}
		case c.Mode == images.IPAuto:
			return step{do: takeStatic, why: fmt.Sprintf("static: no carrier in %v, so no DHCP server was asked", c.Carrier)}
		}
		return step{do: fail, cause: NoCarrier}
	}
	if c.Mode == images.IPAuto {
		end, why := v.carrier+c.Probe, fmt.Sprintf("static: no DHCP server answered in %v", c.Probe)
		if v.offered {
			end, why = end+acceptGrace, "static: a DHCP server offered but gave no lease"
		}
		if v.elapsed >= end {
			return step{do: takeStatic, why: why}
		}
		return step{until: end}
	}
	if end := v.carrier + c.Timeout; v.elapsed < end {
		return step{until: end}
	}
	return step{do: fail} // the attempts know the cause
}
