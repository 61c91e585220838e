package vip

import (
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"masthead/appliance/failover"
)

const (
	gatewayEvery  = time.Second
	gatewayMisses = 3
)

// gateway follows whether the gateway answers. The zero value has asked nobody.
type gateway struct {
	asking bool
	asked  failover.Instant
	heard  bool // since asked
	misses int
	state  failover.Reading
}

// due ends a question that got a second, and reports whether to ask again.
func (g *gateway) due(now failover.Instant) bool {
	if g.asking && now-g.asked < gatewayEvery {
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

func (g *gateway) hear() { g.heard, g.misses, g.state = true, 0, failover.Up }

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
