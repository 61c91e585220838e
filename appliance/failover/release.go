package failover

import "time"

// leave begins an orderly end of ownership, in favour of the head with that id; negative: of nobody in particular.
func (d *decider) leave(to int, why string) {
	m := d.m
	m.reason, m.target, m.lost = why, to, false
	d.enter(Release)
	name := "nobody"
	if p := d.peer(to); p != nil {
		name = p.Name
	}
	d.event(true, false, "gives up epoch ", m.Epoch.String(), " in favour of ", name, ": ", why)
}

// lose begins the end of an ownership whose right is gone: another head may act already.
func (d *decider) lose(why string) {
	m := d.m
	if m.Phase == Release && m.lost {
		return
	}
	m.reason, m.target, m.lost, m.stopBy = why, -1, true, d.now+d.stopWithin()
	d.enter(Release)
	d.event(true, true, "may not act under epoch ", m.Epoch.String(), " any more: ", why)
}

func (d *decider) stopWithin() time.Duration {
	if d.t.StopWithin > 0 {
		return d.t.StopWithin
	}
	return Normal().StopWithin
}

// release shuts the gate and stops the services, then gives the lease back, and says so.
func (d *decider) release() {
	m, v := d.m, d.v
	d.summary("gives up", under(m.Epoch), ": ", m.reason)
	switch why := ""; {
	case v.Services == ServicesStopFailed:
		d.selfFence("a service could not be stopped")
		return
	case m.lost && d.now >= m.stopBy && !d.stopped():
		d.selfFence("the right to act is gone, and the services did not stop in " + d.stopWithin().String())
		return
	case !m.lost:
		if why = d.higher(); why == "" && !d.asksPeers() && !m.own && !d.stopped() && (v.Authority.Held != m.Epoch || v.Authority.Until <= d.now) {
			why = "the lease has ended"
		}
		if why != "" {
			switched := m.switched
			m.switched = false
			d.lose(why)
			if switched {
				d.out.Done.Switch = Failed + why
			}
		}
	}
	if !d.stopped() {
		d.no("the services are ", v.Services.String())
		return
	}
	if !d.asksPeers() && !m.lost && v.Authority.Held != 0 && v.Authority.Until > d.now {
		d.no("the lease is being given back")
		return
	}
	if v.Data != NoData && v.Mirrored == Down && len(d.peers) > 0 && d.asksPeers() {
		// The copies were parted before this one was given up: what was written last may be on this head's disk alone. Nobody
		// is given leave to take over.
		d.solo()
		if m.switched {
			d.out.Done.Switch = Failed + "the other copy of the data does not have all that was written"
		}
		m.target, m.switched, m.reclaim = -1, false, true
	} else {
		m.released, m.gaveUp = m.Epoch, d.now
	}
	m.tried = max(m.tried, m.Epoch)
	m.Epoch, m.own, m.word, m.resumed, m.how = 0, false, false, false, ""
	d.noteKnown()
	d.enter(Standby)
}

// noteKnown takes the highest epoch that made this head give up into its record.
func (d *decider) noteKnown() {
	if d.m.disk.on || d.m.known <= d.rec.Epoch {
		return
	}
	if o := d.owner(); o != nil && o.Said.Acting == d.m.known {
		d.adopt(o)
		return
	}
}

// selfFence ends everything at once, since it cannot be ended in order.
func (d *decider) selfFence(why string) {
	d.m.reason = why
	d.enter(SelfFence)
	d.event(true, true, "this machine is reset: ", why)
}
