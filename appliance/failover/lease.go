package failover

import "time"

// holds is what a head in Promote or Active has to be sure of each time: nobody is above it, and its lease is live. It sets
// until when the gate may be open. false: the right to act is gone.
func (d *decider) holds() bool {
	d.renumber()
	if why := d.higher(); why != "" {
		d.lose(why)
		return false
	}
	m, a := d.m, &d.v.Authority
	if !d.asksPeers() {
		if a.Held == m.Epoch && a.Until > d.now {
			m.own, m.word, m.resumed, m.lease = false, false, false, a.Until
			m.lapsed.clear()
			d.until, d.open = a.Until, true
			return true
		}
		if !m.own {
			// What an earlier run of the daemon has opened ends with the lease that it had then.
			if m.resumed && m.lease > d.now {
				d.until, d.open = m.lease, true
				return true
			}
			d.lose("the lease has ended" + bracket(a.Refused))
			return false
		}
	}
	m.own = true
	d.grantSelf()
	return true
}

// grantSelf renews the lease of a head that is its own arbiter. It lasts as long as the gate is opened at once, so that a
// head that stood still for longer looks around before it goes on.
func (d *decider) grantSelf() {
	m := d.m
	if m.lease < d.now {
		m.lapsed.set(d.now)
	}
	if m.lapsed.on {
		d.out.Probe = true
		if !d.mayResume() {
			d.no("this head has stood still, and looks whether another one has taken over")
			return
		}
		m.lapsed.clear()
	} else if d.v.Uplink == Down && d.allSilent() {
		// Nobody can reach this head, and another one may take over. When the uplink is back it has to look first.
		d.no("the own uplink is down, and no other head is heard")
		d.until, d.open = m.lease, true
		return
	}
	m.lease = d.now + d.t.Gate
	d.until, d.open = m.lease, true
}

// mayResume reports whether a head whose own lease has ended may grant itself another one: the others are asked again, or
// there are none.
func (d *decider) mayResume() bool {
	for i := range d.peers {
		p := &d.peers[i]
		if p.last > d.m.lapsed.at+60*time.Millisecond { // and it knows of no higher epoch: see higher
			continue
		}
		if d.proven(p) != "" {
			continue
		}
		if !p.suspect || !d.vipFree() || d.v.Uplink == Down {
			return false
		}
	}
	return true
}

func (d *decider) allSilent() bool {
	for i := range d.peers {
		if !d.peers[i].suspect {
			return false
		}
	}
	return len(d.peers) > 0
}

// renumber goes on under the term that the consensus has given to an owner that began without it.
func (d *decider) renumber() {
	m, a := d.m, &d.v.Authority
	if a.Kind != Raft || !m.own || a.Held == m.Epoch {
		return
	}
	switch g := a.Grant; {
	case g <= m.Epoch || g < m.known:
		d.out.WantTerm = a.Quorum == Up
	case d.v.Record.Epoch == g:
		m.Epoch = g
	default:
		d.rec.Epoch, d.rec.Owner = g, d.v.Self.Name
	}
}
