package vip

import (
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"masthead/appliance/failover"
)

// The gateway is asked five times a second, and twice as often while it does not answer. At one packet in ten lost each way,
// eight questions in a row go unanswered once in a day or so; a cable that was pulled is down after a second.
const (
	gatewayEvery  = 200 * time.Millisecond
	gatewayAgain  = 100 * time.Millisecond
	gatewayMisses = 8
)

// gateway follows whether the gateway answers. The zero value has asked nobody.
type gateway struct {
	asking bool
	asked  failover.Instant
	heard  bool             // since asked
	last   failover.Instant // when it answered last; 0: not yet
	misses int
	state  failover.Reading
}

// next is when the question that was asked has had its time.
func (g *gateway) next() failover.Instant {
	if g.misses > 0 {
		return g.asked + gatewayAgain
	}
	return g.asked + gatewayEvery
}

// due ends a question that has had its time, and reports whether to ask again.
func (g *gateway) due(now failover.Instant) bool {
	if g.asking && now < g.next() {
		return false
	}
	if g.asking && !g.heard {
		if g.misses++; g.misses >= gatewayMisses {
			g.state = failover.Down
		}
	}
	g.asking, g.asked, g.heard = true, now, false
	return true
}

func (g *gateway) hear(now failover.Instant) {
	g.heard, g.last, g.misses, g.state = true, now, 0, failover.Up
}

// silent is for how long it has not answered; 0 where it has never been asked.
func (g *gateway) silent(now failover.Instant) time.Duration {
	if !g.asking {
		return 0
	}
	return now - g.last
}

// carrierOf reads whether a cable is in and the other end is there (RFC 2863, ifOperStatus). Drivers that do not say (tun,
// dummy) leave "unknown", and then the flag tells.
func carrierOf(a *netlink.LinkAttrs) failover.Reading {
	switch {
	case a.RawFlags&unix.IFF_UP == 0:
		return failover.Down
	case a.OperState == netlink.OperUp:
		return failover.Up
	case a.OperState == netlink.OperUnknown && a.RawFlags&unix.IFF_LOWER_UP != 0:
		return failover.Up
	}
	return failover.Down
}

// worst is Down if any is, else Unknown if any is.
func worst(readings ...failover.Reading) failover.Reading {
	w := failover.Up
	for _, r := range readings {
		switch {
		case r == failover.Down:
			return failover.Down
		case r == failover.Unknown:
			w = failover.Unknown
		}
	}
	return w
}
