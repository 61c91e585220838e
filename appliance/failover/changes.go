package failover

// told is what people have been told, so that each change is told once.
type told struct {
	blocked  string // why nobody owned, when that was mailed; empty: not since somebody owned
	up, down [MaxHeads]uint16
	gone     [MaxHeads]bool
	uplink   Reading
	conflict string
	disk     string
	ill      string
	fence    Instant
	fenceBad bool
}

// changes makes events of what is other than before.
func (d *decider) changes() {
	d.phaseChange()
}

func (d *decider) phaseChange() {
	m, t := &d.m, &d.m.told
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
		d.event(true, false, d.why.Summary)
	case Blocked:
		d.event(true, t.blocked != d.why.Summary, "nobody may own the cluster without a person: ", d.why.Summary)
		t.blocked = d.why.Summary
	case Quarantine:
		d.event(true, true, d.why.Summary)
	case Claim:
		d.event(false, false, d.why.Summary)
	case Standby:
		if before == Suspect || before == Blocked || before == Fence {
			d.event(false, false, d.why.Summary)
		}
	}
}
