package failover

// boot is the first decision of a daemon.
func (d *decider) boot() {
	m, r, g := d.m, &d.v.Record, &d.v.Gate
	m.Epoch = r.Epoch
	// A daemon that was killed and comes back while the kernel still holds its gate open goes on without a gap: that is
	// not memory (R3), since nobody else could have begun while the gate was open.
	if m.restarted && r.Epoch != 0 && r.Owner == d.v.Self.Name && d.v.RecordErr == "" &&
		d.gateOpen() && g.Epoch == r.Epoch && d.higher() == "" {
		m.how = "its daemon came back within the lease"
		m.resumed, m.own, m.lease = true, d.asksPeers(), g.Until
		d.enter(Active)
		return
	}
	m.Epoch = 0
	d.enter(Join)
}

// idle is a head that holds nothing: it follows an owner, or finds out whether it may become it.
func (d *decider) idle() {
	o := d.owner()
	if o != nil {
		d.adopt(o)
	}
	switch {
	case d.v.Services == ServicesStopFailed:
		d.selfFence("a service of an earlier term could not be stopped")
	case d.v.Data == DataDiverged:
		d.drop()
		d.enter(Quarantine)
		d.summary("both heads have written to their data: this one's is set aside, and never claims")
		d.try("masthead data status")
	case o != nil:
		d.follow(o)
	case d.v.Self.Stopping:
		d.drop()
		d.enter(Standby)
		d.summary("its daemon is ending")
	case !d.stopped():
		d.drop()
		d.enter(d.waiting())
		d.summary("stops what an earlier term of ownership has left")
	case d.handedOver():
		d.drop()
		d.enter(Standby)
	default:
		d.stand()
	}
	if d.m.Phase == Blocked && d.out.Why.Try == "" {
		d.try("masthead status --why")
	}
	d.answerIdle(o)
}

// follow is a head that hears the owner.
func (d *decider) follow(o *other) {
	m := d.m
	if m.target >= 0 {
		d.handoverDone(o)
	}
	d.drop()
	m.vacant.clear()
	m.stuck.clear()
	m.reclaim = false
	d.enter(Standby)
	switch {
	case o.Said.Phase == Claim:
		d.summary("agrees that ", o.Name, " becomes the owner")
	case o.Said.Phase == Active && d.onSerialAlone(o):
		d.summary("not taking over: the serial link says that the peer is alive")
		d.no(o.Name, " is heard on ", newest(o), ", and on no NIC")
	case o.Said.Phase == Active:
		d.summary("follows ", o.Name)
	case o.Said.Phase == Promote:
		d.summary(o.Name, " is taking over")
	default:
		d.summary(o.Name, " is giving up")
	}
	if why := d.barred(); why != "" {
		d.no("could not take over: ", why)
	}
}

// onSerialAlone reports whether p is heard, and no NIC has anything to do with it.
func (d *decider) onSerialAlone(p *other) bool {
	for _, l := range p.Links {
		if l.Kind == LinkNIC && l.Heard >= 0 && d.now-l.Heard < d.t.Suspect {
			return false
		}
	}
	return p.alive && len(p.Links) > 0
}

// adopt takes the epoch of an owner into the record (R2).
func (d *decider) adopt(o *other) {
	e := o.Said.Acting
	if e > d.rec.Epoch || e == d.rec.Epoch && d.rec.Owner != o.Name {
		*d.rec = Record{ClusterGen: d.rec.ClusterGen, Epoch: e, Owner: o.Name, DataUUID: d.rec.DataUUID}
	}
}

// drop ends a claim. Its epoch is not used again.
func (d *decider) drop() {
	if d.m.Epoch != 0 {
		d.m.dropped = mark{on: true, at: d.now}
	}
	d.m.tried = max(d.m.tried, d.m.Epoch)
	d.m.Epoch = 0
}

// waiting is the phase of a head that can only wait.
func (d *decider) waiting() Phase {
	if d.m.Phase == Join || d.m.Phase == Blocked {
		return d.m.Phase
	}
	return Standby
}

// stand is a head that holds nothing and hears no owner.
func (d *decider) stand() {
	m := d.m
	for i := range d.peers {
		if p := &d.peers[i]; p.alive && p.Said.Phase == Claim && d.asksPeers() && d.newer(&p.Said) {
			d.no("does not agree that ", p.Name, " takes over: this head owned last, without it, and its data may be newer")
		}
	}
	next := d.title()
	if next != Claim && next != Promote {
		d.drop()
	}
	if next == Suspect || next == Fence || next == Blocked {
		m.stuck.set(d.now)
	} else if next != Join {
		m.stuck.clear()
	}
	if m.Phase == Blocked && (next == Suspect || next == Fence || next == Join) {
		next = Blocked // it tries on; nobody is told twice
	}
	if next == Suspect && !d.content && m.stuck.since(d.now, d.t.Handover) {
		next = Blocked
	}
	d.enter(next)
}

// handedOver waits for the head to which this one has handed over.
func (d *decider) handedOver() bool {
	m := d.m
	if m.target < 0 {
		return false
	}
	p := d.peer(m.target)
	if p != nil && d.now-m.gaveUp < d.t.Handover {
		d.summary("has handed over, and waits for ", p.Name, " to take over")
		return true
	}
	name := "the other head"
	if p != nil {
		name = p.Name
	}
	d.event(true, true, name, " did not take over within ", d.t.Handover.String())
	if m.switched {
		d.out.Done.Switch = Failed + name + " did not take over within " + d.t.Handover.String()
	}
	m.target, m.switched, m.reclaim = -1, false, true
	return false
}

func (d *decider) handoverDone(o *other) {
	m := d.m
	if o.Said.Phase == Claim && o.ID == m.target {
		return // it is not there yet
	}
	if m.switched {
		d.out.Done.Switch, d.out.Done.Epoch = o.Name+" owns the cluster under epoch "+o.Said.Acting.String(), o.Said.Acting
	}
	m.target, m.switched = -1, false
}
