package vip

import (
	"net"
	"net/netip"
	"time"

	"masthead/appliance/failover"
)

// probeEvery is the length of a round: a station on the same wire answers within a few milliseconds.
const probeEvery = 100 * time.Millisecond

// prober counts rounds of questions. Everything that shows a VIP or a peer alive is an answer, asked for or not.
type prober struct {
	vips, peers map[netip.Addr]bool
	on          bool
	began       failover.Instant // the present round; negative: none
	blind       bool             // the present round did not reach the wire everywhere
	vip, peer   bool             // answered in the present round
	result      failover.Probe
	holder      net.HardwareAddr // who answered last for a VIP
}

func (p *prober) set(on bool) {
	if on == p.on {
		return
	}
	p.on, p.began, p.result, p.vip, p.peer, p.holder = on, -1, failover.Probe{}, false, false, nil
}

// due ends a round that is over and reports whether to begin the next one; asked is then to be called.
func (p *prober) due(now failover.Instant) bool {
	if !p.on || p.began >= 0 && now-p.began < probeEvery {
		return false
	}
	if p.began >= 0 {
		p.result.VIP, p.result.Peer = p.vip, p.peer
		switch {
		case p.vip || p.peer:
			p.result.Rounds = 0
		case !p.blind: // a question that nobody could hear is not an unanswered one
			p.result.Rounds++
		}
	}
	return true
}

// asked begins a round. blind: not all questions went out.
func (p *prober) asked(now failover.Instant, blind bool) {
	p.began, p.blind, p.vip, p.peer = now, blind, false, false
}

func (p *prober) hear(c claim) {
	if !p.on {
		return
	}
	if p.vips[c.addr] {
		p.vip, p.holder = true, c.hardware()
		p.result.VIP, p.result.Rounds = true, 0 // at once: somebody may be about to open
	}
	if p.peers[c.addr] {
		p.peer = true
		p.result.Peer, p.result.Rounds = true, 0
	}
}
