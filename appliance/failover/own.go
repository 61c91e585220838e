package failover

// promote is a head that may act, and makes itself ready: data, then services, then the gate.
func (d *decider) promote() {
	m, v := d.m, d.v
	d.out.Probe = !m.clear
	d.summary("takes over", under(m.Epoch), ": ", m.how)
	switch {
	case v.Services == ServicesStopFailed:
		d.selfFence("a service could not be stopped")
		return
	case v.RecordErr != "" && v.Record.Epoch != m.Epoch:
		*d.rec = v.Record
		d.lose("its record cannot be written: " + v.RecordErr)
		return
	case !d.holds():
		return
	}
	if d.rec.Epoch != m.Epoch {
		d.rec.Epoch, d.rec.Owner = m.Epoch, v.Self.Name
	}
	if v.Record.Epoch != m.Epoch {
		return
	}
	if v.Data == DataAlone {
		d.solo() // its start waits for the word
	}
	age := d.now - m.Since
	switch {
	case v.Gate.Conflict != "" || v.Probe.VIP && !m.clear && age >= d.t.Silence+d.t.ProbeEvery:
		m.foreign = mark{on: true, at: d.now}
		d.event(true, true, "another machine answers for a virtual address: this head does not take it", bracket(v.Gate.Conflict))
		d.leave(-1, "another machine answers for a virtual address")
		return
	case v.Self.Stopping:
		d.leave(d.heir(), "its daemon is ending")
		return
	case v.Services == ServicesFailed:
		if to := d.heir(); to >= 0 {
			d.leave(to, "the services could not be started")
			return
		}
		d.no("services could not be started; no other head can take over")
	case v.Services != ServicesStarted:
		d.no("the services are ", v.Services.String())
		d.writesWait()
		d.guard()
		return
	}
	if v.Probe.VIP {
		m.answered = mark{on: true, at: d.now}
	}
	// Where somebody answered a round before, an answer may have been lost: that the other kernel answered, and nobody for the
	// VIPs, is no proof yet.
	free := d.vipFree() && !(v.Probe.Peer && m.answered.on && d.now-m.answered.at < 2*d.t.ProbeEvery)
	// A round of probes needs an uplink. Where there is none, there is nobody to be in conflict with.
	if !m.clear && !free && (v.Probe.VIP || age < d.t.Handover) {
		d.no("the virtual addresses are probed for another machine that has them")
		return
	}
	m.foreign.clear()
	d.enter(Active)
}

// active is the owner.
func (d *decider) active() {
	m, v := d.m, d.v
	d.summary("owns the cluster", under(m.Epoch), ": ", m.how)
	switch {
	case v.Services == ServicesStopFailed:
		d.selfFence("a service could not be stopped")
		return
	case !d.holds():
		return
	}
	d.answerActive()
	if m.Phase != Active {
		return
	}
	if to, why := d.leaves(); why != "" {
		d.leave(to, why)
		return
	}
	heard, acts := d.opponent()
	m.rival.keep(acts, d.now)
	if acts && heard-m.rival.at >= d.t.Silence {
		d.lose("another head acts, and does not give way")
		return
	}
	d.writesWait()
	d.guard()
	d.follows()
}

// writesWait is an owner that may not write to its data. It owns all the same, and a person has to know.
func (d *decider) writesWait() {
	m, w := d.m, Word{}
	waits := d.v.DataWaits || m.Phase == Promote && d.v.Data == DataAlone
	if waits {
		w = d.word(Run)
	}
	m.frozen.keep(waits && !w.Go, d.now)
	waits = m.frozen.since(d.now, d.t.Handover)
	if waits {
		d.no("writes to the data wait: ", w.How)
		for i := range d.peers {
			if p := &d.peers[i]; !p.alive && !p.NoCopy {
				d.confirmTry(p)
			}
		}
	}
	switch t := &m.told; {
	case waits && !t.frozen:
		d.event(true, true, "writes to the data wait: ", w.How)
	case t.frozen && !m.frozen.on:
		d.event(false, false, "writes to the data go on")
	default:
		return
	}
	m.told.frozen = waits
}

// leaves is why this owner should hand over, and to whom; empty: it should not.
func (d *decider) leaves() (to int, why string) {
	m, v := d.m, d.v
	if v.Self.Stopping {
		return d.heir(), "its daemon is ending"
	}
	ill := v.Self.Unhealthy
	if ill == "" && v.Services == ServicesFailed {
		ill = "services have failed"
	}
	to = d.heir()
	if ill != "" {
		if to >= 0 && d.now-m.Since >= d.t.Silence {
			return to, ill
		}
		d.no("should hand over: ", ill)
		d.no("nobody can take over", bracket(d.unfitOthers()))
	}
	// The LAN is down and the other head is heard all the same: whoever still has a way to the clients owns.
	heir := d.peer(to)
	m.cutOff.keep(v.Uplink == Down && heir != nil && heir.Said.Uplink == Up, d.now)
	if m.cutOff.since(d.now, d.t.Silence) {
		return to, "its uplink is down, that of " + heir.Name + " is up"
	}
	if v.Uplink == Down {
		d.no("the own uplink is down")
	}
	return -1, ""
}

// heir is the id of a head that can take over; negative: none.
func (d *decider) heir() int {
	for i := range d.peers {
		if d.unfit(&d.peers[i]) == "" {
			return d.peers[i].ID
		}
	}
	return -1
}

// unfit is why p cannot take over; empty: it can.
func (d *decider) unfit(p *other) string {
	s := &p.Said
	switch {
	case !p.alive:
		return "nothing is heard of " + p.Name
	case s.Leaving:
		return "the daemon of " + p.Name + " is ending"
	case s.Phase != Standby:
		return p.Name + " is in phase " + s.Phase.String()
	case s.Yields != d.m.Epoch:
		return p.Name + " has not agreed to this owner yet"
	case !s.Data.MayClaim() || d.v.Data != NoData && s.Data != DataUpToDate:
		return "the data of " + p.Name + " is " + s.Data.String()
	case d.v.Data != NoData && !d.rec.SoloSince.IsZero():
		return p.Name + " follows for too short a time"
	case s.Uplink == Down:
		return "the uplink of " + p.Name + " is down"
	case s.Unhealthy:
		return p.Name + " is not healthy"
	case s.Gen != d.rec.ClusterGen:
		return p.Name + " is of another generation of the cluster"
	}
	return ""
}

func (d *decider) unfitOthers() string {
	for i := range d.peers {
		if why := d.unfit(&d.peers[i]); why != "" {
			return why
		}
	}
	return ""
}
