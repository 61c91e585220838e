package failover

// vacancy is what follows when nobody owns and others are heard: one of them claims, and the others agree.
func (d *decider) vacancy() Phase {
	m := d.m
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
	r, self := d.rec, &d.v.Self
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
