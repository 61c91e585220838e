package failover

// Word is the arbiter's word on the replicated data of an owner whose copy is not connected to the other one. Without it a
// write is not completed: the other head may own meanwhile, and have written to its copy (I2).
type Word struct {
	// Go: the data may be written to.
	Go bool
	// Outdated: the other head has confirmed that its copy counts as older.
	Outdated bool
	// Yield: the other head acts under a higher epoch. This one's copy is the older.
	Yield bool
	// Forced: the copy is to be written to though it is not up to date: a person accepts that what it lacks is lost.
	Forced bool
	// How says what gives the word, or what is missing for it.
	How string
}

// word finds out whether an owner may write without the other copy. A live lease alone is not enough: a paused machine may
// take an old one for it, and voters that know nothing of an owner that wrote alone would vouch for the other head.
func (d *decider) word(services Wish) Word {
	m, v := d.m, d.v
	forced := m.forced && m.Phase == Promote && (v.Data == DataOutdated || v.Data == DataSyncing || v.Data == DataUnknown)
	if v.Data != DataAlone && !forced || services != Run || m.Phase != Promote && m.Phase != Active {
		return Word{How: "this head does not own the cluster"}
	}
	if v.Record.Epoch != m.Epoch || v.Record.Owner != v.Self.Name {
		return Word{How: "the epoch is not on the disk yet"}
	}
	if !d.asksPeers() && !m.own && (v.Authority.Held != m.Epoch || v.Authority.Until <= d.now) {
		return Word{How: "the lease is not held"}
	}
	for i := range d.peers {
		if p := &d.peers[i]; p.alive && p.acts() && p.Said.Acting > m.Epoch {
			return Word{Yield: true, How: p.Name + " acts under epoch " + p.Said.Acting.String()}
		}
	}
	if forced {
		return Word{Go: true, Forced: true, How: "a person has promoted it, and accepts that its data is " + v.Data.String()}
	}
	if how := d.soloKnown(); how != "" {
		return Word{Go: true, How: how}
	}
	out := Word{Go: true, How: "no other head is configured"}
	for i := range d.peers {
		p := &d.peers[i]
		how, outdated := d.harmless(p)
		if how == "" {
			return Word{How: "nothing proves that " + p.Name + " does not write"}
		}
		out.How, out.Outdated = how, outdated
	}
	return out
}

// soloKnown is by what the voters vouch for an owner without the other copy; empty: they do not.
func (d *decider) soloKnown() string {
	a, r := &d.v.Authority, &d.v.Record
	switch {
	case a.Kind >= Panel && !d.m.own && !r.SoloSince.IsZero() && a.SoloKnown > d.v.DataLost:
		return "the voters know that it owns alone"
	case d.m.word:
		return "a person has promoted it"
	}
	return ""
}

// harmless is by what the copy of p cannot be written to, nor be taken for the newest; empty: it can.
func (d *decider) harmless(p *other) (how string, outdated bool) {
	s := &p.Said
	switch {
	case p.NoCopy:
		return p.Name + " has no copy of the data", false
	case d.proven(p) != "":
		return d.proven(p), false
	case p.alive && p.last > d.v.DataLost && s.Yields == d.m.Epoch && (s.Data == DataOutdated || s.Data == DataSyncing) && d.allOlder(s):
		return p.Name + " says that its data is " + s.Data.String(), true
	case d.v.Authority.Kind == Pair && !d.v.Fencing.Possible && d.v.Policy.Loss == Available && p.suspect:
		return "the policy is to be available", false
	case d.m.person && !p.alive:
		return "a person has promoted it", false
	}
	return "", false
}

// allOlder: the head that says s has an older copy of each volume that this one writes to alone. What it says of its data is the
// worst of them: that can be true of another volume, and its copy of the one that lost the connection be up to date still.
func (d *decider) allOlder(s *Said) bool {
	return d.v.Parted != 0 && d.v.Parted&^s.Older == 0
}
