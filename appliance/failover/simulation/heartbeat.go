package simulation

import (
	"time"

	"masthead/appliance/failover"
)

// beat is the daemon's timer of heartbeats: each time on NICs, each second time on the serial cable.
func (w *World) beat(i int) {
	h := &w.heads[i]
	h.beats++
	next := 50*time.Millisecond + time.Duration(w.rnd.next()&(1<<18-1))
	if h.starved > 0 && w.rnd.chance(20) {
		next += w.rnd.between(0, h.starved)
	}
	w.in(next, evBeat, i, h.loopGen)
	if h.said[h.saying%uint32(len(h.said))].BootID == 0 {
		return // nothing was decided yet
	}
	w.send(i, h.beats&1 == 0)
}

// send sends the newest words to all, on all links.
func (w *World) send(i int, cable bool) {
	h := &w.heads[i]
	if !w.room() {
		return
	}
	now := w.instant(i)
	for k := range h.view.Peers {
		j := peerAt(i, k)
		links := h.peers[k].Links
		var mask uint8
		for l := range links {
			if heard := links[l].Heard; heard >= 0 && now-heard < w.policy.Timing.Suspect {
				mask |= 1 << l
			}
		}
		for l := range links {
			base := 100 * time.Microsecond
			if l == serial {
				if !cable {
					continue
				}
				base = 7 * time.Millisecond
			}
			p := w.way(l, i, j)
			d, ok := w.pass(p, base)
			if !ok {
				continue
			}
			e := event{at: w.now + d, kind: evHeard, head: uint8(j), from: uint8(i), link: uint8(l), mask: mask, ver: h.saying, x: int64(w.now), gen: uint32(h.boots + 1)}
			w.post(e)
			if p.twice && w.rnd.chance(50) {
				e.at += w.rnd.between(0, 150*time.Millisecond)
				w.post(e)
			}
		}
	}
}

// arrive is a heartbeat at the other end.
func (w *World) arrive(e *event) {
	h := &w.heads[e.head]
	if !h.alive() || !h.running {
		return
	}
	f := &h.from[e.from]
	if h.stopped {
		f.waiting = true
		f.last[e.link] = *e
		return
	}
	i, j := int(e.head), int(e.from)
	k := placeOf(i, j)
	peer := &h.peers[k]
	now := w.instant(i)
	link := &peer.Links[e.link]
	silent := link.Heard < 0 || now-link.Heard > w.policy.Timing.Suspect
	link.Heard = now
	if w.now-f.any > reaction {
		f.before = f.any
	}
	f.any = w.now
	if gate := w.heads[j].gateAt; time.Duration(e.x) >= gate && f.knownGate != gate {
		f.knownGate, f.knownAt = gate, w.now
	}
	w.law.heard(w, e)
	changed := false
	if e.x > f.seq {
		f.seq = e.x
		if e.ver != f.ver || peer.Said.BootID == 0 {
			f.ver = e.ver
			said := w.heads[j].said[e.ver%uint32(len(h.said))]
			changed = said != peer.Said
			peer.Said = said
		}
		for l := range peer.Links {
			reading := failover.Down
			if e.mask>>l&1 == 1 {
				reading = failover.Up
			}
			changed = changed || peer.Links[l].HeardUs != reading
			peer.Links[l].HeardUs = reading
		}
	}
	if changed || silent {
		w.step(i)
	}
}

// The gateway is down after so many questions without an answer that a loss of one in ten is none.
const (
	uplinkEvery  = 100 * time.Millisecond
	uplinkMisses = 8
)

// measure looks at the way to the gateway, and at the carriers.
func (w *World) measure(i int) {
	h := &w.heads[i]
	w.in(uplinkEvery, evUplink, i, h.loopGen)
	was := h.uplink
	switch {
	case !w.net.carrier[i]:
		h.uplink, h.misses = failover.Down, uplinkMisses
	case w.answers(i, gateway):
		h.uplink, h.misses = failover.Up, 0
	default:
		h.misses++
		if h.misses >= uplinkMisses {
			h.uplink = failover.Down
		}
	}
	for k := range h.view.Peers {
		links := h.peers[k].Links
		other := &w.heads[peerAt(i, k)]
		for l := range links {
			on := true
			switch l {
			case lan:
				on = w.net.carrier[i]
			case direct:
				on = w.net.dcable && other.power != off
			case serial:
				on = other.power != off && other.running
			}
			links[l].Carrier = failover.Down
			if on {
				links[l].Carrier = failover.Up
			}
		}
	}
	if was != h.uplink {
		w.step(i)
	}
}

// probing is the rounds of ARP probes.
type probing struct {
	on   bool
	seen failover.Probe
}

func (w *World) setProbe(i int, on bool) {
	h := &w.heads[i]
	if on == h.probe.on {
		return
	}
	h.probe = probing{on: on}
	if on {
		w.in(w.policy.Timing.ProbeEvery, evProbe, i, h.loopGen)
	}
}

// probed is the end of a round: for the VIP answers whoever has an open gate, or the foreign machine; for the peer's
// addresses its kernel, on any NIC.
func (w *World) probed(i int) {
	h := &w.heads[i]
	if !h.probe.on {
		return
	}
	w.in(w.policy.Timing.ProbeEvery, evProbe, i, h.loopGen)
	foreign := w.foreign && w.answers(i, gateway)
	vip, peer := false, false
	for k := range h.view.Peers {
		j := peerAt(i, k)
		o := &w.heads[j]
		if !o.alive() {
			continue
		}
		near := w.answers(i, j)
		if near && o.open(w.now) {
			vip = true
		}
		if near || w.sc.Direct && !w.net.direct[0].cut && !w.net.direct[1].cut && !w.rnd.chance(w.net.direct[0].loss) {
			peer = true
		}
	}
	seen := &h.probe.seen
	seen.VIP, seen.Peer = vip || foreign, peer
	seen.Rounds++
	if foreign {
		seen.Rounds = 0
	}
	if vip || peer {
		seen.Rounds = 0
		w.law.before[i], w.law.answered[i] = w.law.answered[i], w.now
	}
	w.step(i)
}
