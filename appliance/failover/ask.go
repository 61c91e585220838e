package failover

import "time"

// ask claims: it asks the other head of a pair, or the voters.
func (d *decider) ask() Phase {
	m, a := d.m, &d.v.Authority
	if why := d.barred(); why != "" {
		return d.notAllowed(why)
	}
	d.out.Probe = true
	if a.Kind == Panel && m.Phase != Claim && m.dropped.on && d.now-m.dropped.at < d.t.Renew {
		// Whatever makes claims come to nothing at once (voters that answer now one, now the other), epochs are not to run.
		d.summary("claims again in a moment")
		return d.suspects()
	}
	switch {
	case a.Kind == Raft:
		if a.Grant > m.tried && a.Grant > d.rec.Epoch && a.Grant >= m.known {
			m.Epoch = a.Grant
		} else {
			d.drop()
			d.out.WantTerm = true
		}
	case m.Phase != Claim || m.Epoch < m.known || m.Epoch <= d.rec.Epoch:
		d.drop()
		m.Epoch = d.next()
	case a.Kind == Panel && d.refusedForGood():
		d.drop()
		m.Epoch = d.next()
	}
	d.summary("claims", under(m.Epoch), ", and waits for ", d.whom())
	if a.Refused != "" {
		d.no(a.Refused)
	}
	if d.asksPeers() && m.Phase == Claim && d.now-m.Since >= d.t.Handover {
		d.no("it has not been agreed to: on the other head, `masthead status --why` says what is against it")
	}
	return Claim
}

// next is an epoch above all that are known, which only this head can use.
func (d *decider) next() Epoch {
	e := max(d.m.known, d.m.tried, d.rec.Epoch)
	if d.v.Operator.Promote { // above whatever an absent head can know
		e += 1000 * MaxHeads
	}
	return e.Next(d.v.Self.ID)
}

// refusedForGood reports that voters refuse the epoch though nobody has the lease: a daemon that ran before this one has
// given it back.
func (d *decider) refusedForGood() bool {
	m, a := d.m, &d.v.Authority
	m.refused.keep(m.Phase == Claim && a.Refused != "" && (a.Owner == "" || a.Owner == d.v.Self.Name) && a.Held == 0, d.now)
	if !m.refused.since(d.now, d.t.TTL+2*d.t.Renew) {
		return false
	}
	m.refused.clear()
	return true
}

func (d *decider) whom() string {
	if d.v.Authority.Kind != Pair {
		return "the voters"
	}
	for i := range d.peers {
		if p := &d.peers[i]; p.alive {
			return p.Name + " to agree"
		}
	}
	return "the other head"
}

// win begins a term: the record is written, and what follows acts under it.
func (d *decider) win(how string) Phase {
	m := d.m
	if why := d.barred(); why != "" {
		return d.notAllowed(why)
	}
	if m.Phase != Claim || m.Epoch < m.known || m.Epoch <= d.rec.Epoch {
		d.drop()
		m.Epoch = d.next()
	}
	solo := d.rec.SoloSince
	if d.rec.Owner != d.v.Self.Name {
		solo = time.Time{}
	}
	*d.rec = Record{ClusterGen: d.rec.ClusterGen, Epoch: m.Epoch, Owner: d.v.Self.Name, SoloSince: solo, DataUUID: d.rec.DataUUID}
	if !d.anyAlive() && len(d.peers) > 0 {
		d.solo()
	}
	m.person, m.forced = d.v.Operator.Promote, d.v.Operator.Promote && d.v.Operator.Force
	m.how, m.own, m.lease = how, d.asksPeers() || m.word, d.now+d.t.Gate
	m.clear = d.justReleased()
	m.resumed, m.lost, m.reclaim, m.released, m.target = false, false, false, 0, -1
	m.lapsed, m.settled, m.apart, m.cutOff, m.rival, m.answered, m.frozen = mark{}, mark{}, mark{}, mark{}, mark{}, mark{}, mark{}
	m.vacant.clear()
	m.stuck.clear()
	m.told.frozen = false
	return Promote
}

// justReleased reports whether a head that is still heard has given up the VIP for this one: nobody else can have it.
func (d *decider) justReleased() bool {
	for i := range d.peers {
		if p := &d.peers[i]; p.alive && d.released(p) {
			return true
		}
	}
	return false
}
