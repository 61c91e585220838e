package failover

// title finds out what entitles this head to own the cluster, or what is missing: the phase that follows. Nobody is heard
// to own it.
func (d *decider) title() Phase {
	if d.v.Operator.Promote {
		if p, ok := d.promoted(); ok {
			return p
		}
	}
	switch d.v.Authority.Kind {
	case Single:
		d.yes("it is the only configured head")
		return d.win("it is the only configured head")
	case Pair:
		return d.pair()
	case Panel:
		return d.panel()
	default:
		return d.raft()
	}
}

// pair asks the other head, there being nobody else: for its agreement while it is heard, and for proof that it is off when
// it is not.
func (d *decider) pair() Phase {
	if len(d.peers) == 0 {
		d.summary("not claiming: no other head is configured, and this one is told to be one of two")
		return Blocked
	}
	asks, how := false, ""
	for i := range d.peers {
		p := &d.peers[i]
		switch why := d.consent(p); {
		case why != "":
			d.yes(why)
			how = why
		case p.alive:
			asks = true
		default:
			next, why := d.absent(p)
			if next != Promote {
				return next
			}
			how = why
		}
	}
	if asks {
		return d.vacancy()
	}
	return d.win(how)
}

// consent is by what p can have nothing against it; empty: it can.
func (d *decider) consent(p *other) string {
	switch m := d.m; {
	case d.released(p):
		return p.Name + " has given up epoch " + p.Said.Released.String()
	case m.Phase == Claim && p.alive && m.Epoch != 0 && m.Epoch >= m.known && p.Said.Yields == m.Epoch:
		return p.Name + " agrees"
	}
	return d.proven(p)
}

// panel asks the voters. Their lease is all it takes while they are there: it ends for the old owner before it begins for
// the new one.
func (d *decider) panel() Phase {
	m, a := d.m, &d.v.Authority
	if d.granted() {
		return d.win("the voters have granted the lease")
	}
	asks, off, gave := false, true, false
	for i := range d.peers {
		p := &d.peers[i]
		if d.released(p) {
			gave = true
			off = false
			d.yes(p.Name, " has given up epoch ", p.Said.Released.String())
			continue
		}
		word := p.ID >= 0 && p.ID < MaxHeads && d.m.dead[p.ID].on && d.m.dead[p.ID].at > p.last
		if why := d.proven(p); why != "" && (word || a.Vouches || d.v.Data == NoData) {
			d.yes(why)
			off = off && word
			continue
		}
		off = false
		switch {
		case p.alive:
			asks = true
		case p.last < 0 && d.now-m.started < d.t.JoinWait:
			d.summary("listens for ", p.Name)
			return Join
		case !p.suspect:
			d.summary("has heard nothing of ", p.Name, " for a moment")
			return d.waiting()
		case !a.Vouches && d.v.Data != NoData && a.Quorum == Up:
			// Whoever owned last may have written alone, and the voters that learnt of it have restarted since.
			d.try("masthead promote")
			if p.last < 0 {
				d.summary("not claiming: this head has booted alone, and no voter remembers who had the newest data")
				return Blocked
			}
			d.summary("not claiming: nothing is heard of ", p.Name, ", and no voter remembers who had the newest data")
			d.no("too few voters remember the last owner")
			return d.suspects()
		default:
			d.silentFor(p)
		}
	}
	switch {
	case a.Owner != "" && a.Owner != d.v.Self.Name && !gave:
		d.summary("not taking over: the voters say that ", a.Owner, " has the lease")
		d.no("the voters say that ", a.Owner, " has the lease")
		d.content = true
		return d.suspects()
	case a.Quorum != Up && off && len(d.peers) > 0:
		// The only other head that could own is off, so nobody else can be granted the lease.
		d.m.word = true
		return d.win("no other head can own")
	case a.Quorum != Up:
		return d.noQuorum()
	case d.v.Uplink == Down:
		d.noUplink()
		return d.suspects()
	case asks:
		return d.vacancy()
	}
	return d.ask()
}

// raft asks the other heads' consensus for a new term. That takes the term from whoever has it, so the question whether
// the owner is dead comes first: another head that hears it speaks for it.
func (d *decider) raft() Phase {
	m, a := d.m, &d.v.Authority
	if d.granted() {
		return d.win("the majority has granted the lease")
	}
	for i := range d.peers {
		p := &d.peers[i]
		if p.alive && p.Said.Phase == Standby && p.Said.Yields != 0 && p.Said.Yields >= m.known {
			if o := d.peer(p.Said.Yields.Head()); p.Said.Yields.Head() != d.v.Self.ID && (o == nil || !d.released(o) && o.suspect) {
				d.summary("not taking over: ", p.Name, " still hears the owner")
				d.no(p.Name, " follows the owner of epoch ", p.Said.Yields.String())
				d.content = true
				return d.suspects()
			}
		}
		switch {
		case p.alive || d.released(p) || d.proven(p) != "":
		case p.last < 0 && d.now-m.started < d.t.JoinWait:
			d.summary("listens for ", p.Name)
			return Join
		case !p.suspect:
			d.summary("has heard nothing of ", p.Name, " for a moment")
			return d.waiting()
		}
	}
	switch {
	case a.Quorum != Up:
		return d.noQuorum()
	case d.v.Uplink == Down:
		d.noUplink()
		return d.suspects()
	}
	return d.vacancy()
}

// granted reports whether the lease that was asked for is there.
func (d *decider) granted() bool {
	m, a := d.m, &d.v.Authority
	return m.Phase == Claim && m.Epoch != 0 && a.Held == m.Epoch && a.Until > d.now && m.Epoch >= m.known
}

func (d *decider) noQuorum() Phase {
	d.summary("not claiming: too few voters answer to grant the lease to anybody")
	d.no("the quorum is ", d.v.Authority.Quorum.String())
	if d.v.Authority.Refused != "" {
		d.no(d.v.Authority.Refused)
	}
	d.out.Probe = true
	d.try("masthead promote --force")
	if d.m.Phase == Join && d.now-d.m.started < d.t.JoinWait {
		return Join
	}
	return Suspect
}

func (d *decider) noUplink() {
	d.summary("not taking over: this head's own uplink is down")
	d.no("the uplink of ", d.v.Self.Name, " is down")
}

// suspects is the phase of a head that misses the owner.
func (d *decider) suspects() Phase {
	d.out.Probe = true
	if d.anyAlive() {
		return d.waiting()
	}
	return Suspect
}
