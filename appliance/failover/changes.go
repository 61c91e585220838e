package failover

// told is what people have been told, so that each change is told once.
type told struct {
	blocked  string            // why nobody owned, when that was mailed; empty: not since somebody owned
	up, down [MaxHeads]uint16  // by head: the links that were heard, and those that were said to be silent
	gone     [MaxHeads]bool    // the head is not heard on any
	back     [MaxHeads]Instant // when it was heard again
	uplink   bool              // this head's uplink is down
	conflict string            // the machine that answers for a virtual address besides this head
	ill      string            // why this head should not own
	frozen   bool              // writes to its data wait
}

// changes makes events of what is other than before.
func (d *decider) changes() {
	d.phaseChange()
	for i := range d.peers {
		d.linkChanges(&d.peers[i])
	}
	d.ownChanges()
}

// quietLink is how long a link is silent until people are told, in times of Timing.Suspect: one that loses a few
// heartbeats is nobody's business.
const quietLink = 8

// linkChanges tells of links that fall silent, and are heard again. A link that was never heard is silent once the others
// have had time to be.
func (d *decider) linkChanges(p *other) {
	if p.ID < 0 || p.ID >= MaxHeads {
		return
	}
	t, quiet := &d.m.told, quietLink*d.t.Suspect
	// Who has stood still has not listened meanwhile. That ends no silence either.
	if gone := p.last >= 0 && !p.alive && (t.gone[p.ID] || d.now-max(p.last, d.m.awake) > quiet); gone != t.gone[p.ID] {
		t.gone[p.ID] = gone
		if gone {
			d.event(true, true, p.Name, " is not heard on any link")
		} else {
			t.back[p.ID] = d.now
			d.event(false, false, p.Name, " is heard again, on ", newest(p))
		}
	}
	if !p.alive {
		return // one word is enough
	}
	for i, l := range p.Links {
		bit := uint16(1) << min(i, 15)
		switch {
		case l.Heard >= 0 && d.now-l.Heard < d.t.Suspect:
			if t.down[p.ID]&bit != 0 {
				d.event(false, false, "the ", l.Kind.String(), " link ", l.Name, " to ", p.Name, " works again")
			}
			t.up[p.ID] |= bit
			t.down[p.ID] &^= bit
		case t.down[p.ID]&bit != 0, t.back[p.ID] > 0 && d.now-t.back[p.ID] < quiet: // its links come back one by one
		case l.Heard >= 0 && d.now-l.Heard > quiet && d.now-d.m.awake > quiet,
			l.Heard < 0 && d.now-d.m.started > d.t.JoinWait+quiet:
			d.event(true, true, "nothing comes from ", p.Name, " on the ", l.Kind.String(), " link ", l.Name, ", and it is heard on ", newest(p))
			t.down[p.ID] |= bit
		}
	}
}

// ownChanges tells of this head's own troubles.
func (d *decider) ownChanges() {
	t, v := &d.m.told, d.v
	if down := v.Uplink == Down; down != t.uplink {
		t.uplink = down
		if down {
			d.event(true, true, "its uplink is down: clients and the gateway are not reached")
		} else {
			d.event(false, false, "its uplink works again")
		}
	}
	if v.Gate.Conflict != t.conflict {
		t.conflict = v.Gate.Conflict
		if t.conflict != "" {
			d.event(true, true, "another machine, ", t.conflict, ", answers for a virtual address of this cluster")
		}
	}
	if v.Self.Unhealthy != t.ill {
		t.ill = v.Self.Unhealthy
		if t.ill != "" && d.m.Phase.Holds() {
			d.event(true, true, "should not own: ", t.ill)
		}
	}
}

func (d *decider) phaseChange() {
	m, t := d.m, &d.m.told
	before := d.v.Memory.Phase
	if m.Phase == Active || m.Phase == Standby && d.owner() != nil {
		t.blocked = ""
	}
	if m.Phase == before {
		return
	}
	switch m.Phase {
	case Active:
		d.event(false, true, "owns the cluster", under(m.Epoch), ": ", m.how)
	case Suspect:
		d.event(true, false, d.out.Why.Summary)
	case Blocked:
		d.event(true, t.blocked != d.out.Why.Summary, "nobody may own the cluster without a person: ", d.out.Why.Summary)
		t.blocked = d.out.Why.Summary
	case Quarantine:
		d.event(true, true, d.out.Why.Summary)
	case Claim:
		d.event(false, false, d.out.Why.Summary)
	case Standby:
		if before == Suspect || before == Blocked || before == Fence {
			d.event(false, false, d.out.Why.Summary)
		}
	}
}
