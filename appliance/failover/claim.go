package failover

import "time"

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
	switch m := &d.m; {
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
	m, a := &d.m, &d.v.Authority
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
	m, a := &d.m, &d.v.Authority
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
	m, a := &d.m, &d.v.Authority
	return m.Phase == Claim && m.Epoch != 0 && a.Held == m.Epoch && a.Until > d.now && m.Epoch >= m.known
}

func (d *decider) noQuorum() Phase {
	d.summary("not claiming: too few voters answer to grant the lease to anybody")
	d.no("the quorum is ", d.v.Authority.Quorum.String())
	if d.v.Authority.Refused != "" {
		d.no(d.v.Authority.Refused)
	}
	d.probe = true
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
	d.probe = true
	if d.anyAlive() {
		return d.waiting()
	}
	return Suspect
}

// vacancy is what follows when nobody owns and others are heard: one of them claims, and the others agree.
func (d *decider) vacancy() Phase {
	m := &d.m
	first := d.first()
	for i := range d.peers {
		if p := &d.peers[i]; p.alive && p.Said.Released != 0 && p.Said.For == d.v.Self.ID && d.released(p) {
			first = nil
		}
	}
	d.yes("nobody owns the cluster")
	if first != nil && !m.reclaim && m.Phase != Claim {
		m.vacant.set(d.now)
		d.summary("waits for ", first.Name, " to claim, which comes first")
		// With replicated data, who does not come first may have an older copy; where voters are asked, they know. There a
		// head that comes first and does not claim at once cannot reach them.
		patience, asks := d.t.Handover, d.v.Authority.Kind >= Panel && d.v.Authority.Quorum == Up
		if asks {
			patience = 3 * d.t.Renew
		}
		if d.v.Data != NoData && !asks || !m.vacant.since(d.now, patience) {
			if m.vacant.since(d.now, d.t.JoinWait) {
				d.summary("not claiming: ", first.Name, " comes first, and does not claim")
				d.try("masthead promote")
				return Blocked
			}
			return d.waiting()
		}
		d.yes(first.Name, " does not claim")
	}
	for i := range d.peers {
		p := &d.peers[i]
		if p.alive && d.v.Data != NoData && p.Said.Data == DataUnknown && m.Phase != Claim {
			m.vacant.set(d.now)
			d.summary("waits for the copies of the data to be compared: how that of ", p.Name, " stands is unknown")
			d.no("the data of ", p.Name, " could be newer")
			if m.vacant.since(d.now, d.t.JoinWait) {
				d.try("masthead promote")
				return Blocked
			}
			return d.waiting()
		}
	}
	return d.ask()
}

// first is the head that comes before this one in a vacancy; nil: this one is first. The order is generation of the
// cluster, epoch, who owned under it (its data are the newest), health, id; data that may not claim come last.
func (d *decider) first() *other {
	var best *other
	mine := d.rank()
	for i := range d.peers {
		p := &d.peers[i]
		if !p.alive || p.Said.Leaving || p.Said.Released != 0 && p.Said.Released >= d.m.known && p.Said.For >= 0 || d.v.Authority.Kind <= Panel && p.Said.Phase == Quarantine {
			continue
		}
		if r := d.rankOf(p); r.before(mine) {
			best, mine = p, r
		}
	}
	return best
}

type rank struct {
	data  bool
	gen   uint64
	epoch Epoch
	owned bool
	sound bool
	id    int
}

func (d *decider) rank() rank {
	r, self := &d.rec, &d.v.Self
	return rank{
		data: d.v.Data.MayClaim() && !d.m.disk.on, gen: r.ClusterGen, epoch: r.Epoch, owned: r.Owner == self.Name,
		sound: self.Unhealthy == "" && d.v.Uplink != Down, id: self.ID,
	}
}

func (d *decider) rankOf(p *other) rank {
	s := &p.Said
	return rank{
		data: s.Data.MayClaim(), gen: s.Gen, epoch: s.Epoch, owned: s.Yields == 0 && s.Epoch != 0 && s.Epoch.Head() == p.ID,
		sound: !s.Unhealthy && s.Uplink != Down, id: p.ID,
	}
}

func (a rank) before(b rank) bool {
	switch {
	case a.data != b.data:
		return a.data
	case a.gen != b.gen:
		return a.gen > b.gen
	case a.epoch != b.epoch:
		return a.epoch > b.epoch
	case a.owned != b.owned:
		return a.owned
	case a.sound != b.sound:
		return a.sound
	}
	return a.id < b.id
}

// ask claims: it asks the other head of a pair, or the voters.
func (d *decider) ask() Phase {
	m, a := &d.m, &d.v.Authority
	if why := d.barred(); why != "" {
		return d.notAllowed(why)
	}
	d.probe = true
	switch {
	case a.Kind == Raft:
		if a.Grant > m.tried && a.Grant > d.rec.Epoch && a.Grant >= m.known {
			m.Epoch = a.Grant
		} else {
			d.drop()
			d.term = true
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
	m, a := &d.m, &d.v.Authority
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
	m := &d.m
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
	d.rec = Record{ClusterGen: d.rec.ClusterGen, Epoch: m.Epoch, Owner: d.v.Self.Name, SoloSince: solo, DataUUID: d.rec.DataUUID}
	if !d.anyAlive() && len(d.peers) > 0 {
		d.solo()
	}
	m.how, m.own, m.lease = how, d.asksPeers() || m.word, d.now+d.t.Gate
	m.clear = d.justReleased()
	m.resumed, m.lost, m.reclaim, m.released, m.target = false, false, false, 0, -1
	m.lapsed, m.settled, m.apart, m.cutOff, m.rival = mark{}, mark{}, mark{}, mark{}, mark{}
	m.vacant.clear()
	m.stuck.clear()
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

// barred is why this head may not claim, whoever agrees; empty: it may.
func (d *decider) barred() string {
	v := d.v
	switch {
	case v.Self.Barred != "":
		return v.Self.Barred
	case d.m.disk.on:
		return "its record cannot be written: " + v.RecordErr
	case v.Data == DataDiverged:
		return "both heads have written to their data"
	case !v.Data.MayClaim() && !(v.Operator.Promote && v.Operator.Force):
		return "its data is " + v.Data.String()
	case d.older() && !(v.Operator.Promote && v.Operator.Force):
		return "its data is older: the owner has written alone since " + v.Authority.Solo.UTC().Format(time.RFC3339)
	case d.m.foreign.on && !d.vipFree():
		return "another machine answers for the virtual address"
	}
	for i := range d.peers {
		if s := &d.peers[i].Said; s.Gen > d.rec.ClusterGen {
			return d.peers[i].Name + " is of a newer generation of the cluster"
		}
	}
	return ""
}

// older reports whether the last owner has written without this head (R5).
func (d *decider) older() bool {
	a, r := &d.v.Authority, &d.rec
	if d.v.Data == NoData || a.Solo.IsZero() {
		return false
	}
	if r.Owner == d.v.Self.Name && a.Known <= r.Epoch {
		return false
	}
	return r.Owner != d.v.Self.Name || !r.SoloSince.Equal(a.Solo)
}

// notAllowed is a head that would be next and may not.
func (d *decider) notAllowed(why string) Phase {
	m := &d.m
	d.summary("not claiming: ", why)
	d.no(why)
	d.probe = true
	switch {
	case !d.v.Data.MayClaim() || d.older():
		d.try("masthead promote --force")
	case m.foreign.on:
		d.try("masthead vip check")
	}
	m.vacant.set(d.now)
	if d.anyAlive() && !m.vacant.since(d.now, d.t.JoinWait) {
		return d.waiting()
	}
	if m.Phase == Join && d.now-m.started < d.t.JoinWait {
		return Join
	}
	return Blocked
}

// vipFree reports whether a round of probes has found nobody at the VIPs.
func (d *decider) vipFree() bool {
	p := &d.v.Probe
	return !p.VIP && (p.Rounds > 0 || p.Peer)
}
