package vip

import (
	"net"
	"net/netip"
	"time"

	"masthead/appliance/failover"
)

const (
	// conflictHolds is for how long a conflict is told after its last sign (RFC 5227, 2.4: DEFEND_INTERVAL).
	conflictHolds = 10 * time.Second

	// defendEvery is between two announcements in defence. RFC 5227 gives up the address at the second claim within 10 s;
	// the epoch says that it is ours, so we go on, at a pace that does no harm.
	defendEvery = 100 * time.Millisecond
)

// conflict is somebody else's claim of a VIP that is open here.
type conflict struct {
	mac      net.HardwareAddr
	seen     failover.Instant
	claimed  map[netip.Addr]bool // to be announced again
	defended failover.Instant
	ever     bool // defended once
}

// hear takes a claim of a VIP by a machine that is not this one, while the gate is open. A peer's is answered and not told:
// the last owner may have had a word under way, and of two heads that both act the epochs tell. news: it is another machine
// than the one that is told already.
func (c *conflict) hear(now failover.Instant, vip netip.Addr, mac net.HardwareAddr, peer bool) (news bool) {
	if c.claimed == nil {
		c.claimed = map[netip.Addr]bool{}
	}
	c.claimed[vip] = true
	if peer {
		return false
	}
	news = c.told(now) != mac.String()
	c.mac, c.seen = mac, now
	return news
}

// due reports whether to announce a VIP again, and takes it as done for those of claimed.
func (c *conflict) due(now failover.Instant) map[netip.Addr]bool {
	if len(c.claimed) == 0 || c.next(now) > 0 {
		return nil
	}
	list := c.claimed
	c.claimed, c.defended, c.ever = nil, now, true
	return list
}

// next is how long until due is to be asked again.
func (c *conflict) next(now failover.Instant) time.Duration {
	switch {
	case len(c.claimed) == 0:
		return announceEvery
	case !c.ever:
		return 0
	}
	return max(0, c.defended+defendEvery-now)
}

// told is the third machine's address, while it matters.
func (c *conflict) told(now failover.Instant) string {
	if c.mac == nil || now-c.seen > conflictHolds {
		return ""
	}
	return c.mac.String()
}
