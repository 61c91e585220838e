package failover

import "time"

// other is what is known about another head.
type other struct {
	*Peer
	last    Instant       // newest heartbeat on any link; negative: none in this run of the daemon
	silent  time.Duration // for how long this head, being awake, has heard nothing
	alive   bool          // heard lately
	suspect bool          // silent for so long that it may be dead
}

// look gathers the evidence.
func (d *decider) look() {
	m := d.m
	if !m.begun {
		*m = Memory{begun: true, started: d.now, awake: d.now, target: -1, fencing: -1}
		m.restarted = d.v.Record.BootID != "" && d.v.Record.BootID == d.v.Self.BootID
	} else if d.now-m.at > d.t.Suspect/2 {
		// This head has stood still (stopped, starved, paused). What was sent to it meanwhile may lie unread: that it
		// has heard nothing says nothing about the others.
		m.awake = d.now
	}
	m.at = d.now
	m.linked.keep(d.v.Uplink != Down, d.now)
	m.known = max(m.known, d.v.Record.Epoch, d.v.Authority.Known, m.released)
	for i := range d.peers {
		p := d.observe(&d.v.Peers[i])
		d.peers[i] = p
		if p.alive && p.Said.Data.MayClaim() && p.ID >= 0 && p.ID < MaxHeads {
			m.able[p.ID] = p.Said.BootID
		}
		m.known = max(m.known, p.Said.Epoch)
		if p.Said.Phase.Holds() || d.asksPeers() {
			m.known = max(m.known, p.Said.Acting)
		}
	}
	m.disk.keep(d.v.RecordErr != "" || m.disk.on && d.now-m.disk.at < diskRetry, d.now)
}

// diskRetry is after how long a disk that could not be written is tried again.
const diskRetry = time.Second

func (d *decider) observe(p *Peer) other {
	o := other{Peer: p, last: -1}
	nic := Instant(-1)
	for _, l := range p.Links {
		o.last = max(o.last, l.Heard)
		if l.Kind == LinkNIC {
			nic = max(nic, l.Heard)
		}
	}
	// A serial line beats half as often. Where it is the only link left, two beats that a disturbance took are no silence.
	patience := d.t.Suspect
	if o.last >= 0 && (nic < 0 || o.last-nic > 2*patience) {
		patience *= 2
	}
	o.alive = o.last >= 0 && d.now-o.last < patience && p.Said.BootID != 0
	o.silent = d.now - max(o.last, d.m.awake, d.m.linked.at)
	o.suspect = !o.alive && o.silent >= patience
	return o
}

// acts reports whether p has an effect on the VIP, the services or the data, by its own word.
func (p *other) acts() bool { return p.Said.Acting != 0 && p.Said.Phase.Holds() }

// rival reports whether the other head of a pair is heard to act.
func (d *decider) rival() bool {
	if !d.asksPeers() {
		return false
	}
	for i := range d.peers {
		if p := &d.peers[i]; p.alive && p.acts() {
			return true
		}
	}
	return false
}

// opponent is when the other head of a pair was heard last to own as well; acts: it was, and has not been silent since for as long
// as a takeover needs. A network that lets beats through now and then does not make the two forget one another; a beat or two
// that were under way for long are not enough.
func (d *decider) opponent() (heard Instant, acts bool) {
	if !d.asksPeers() {
		return 0, false
	}
	for i := range d.peers {
		p := &d.peers[i]
		owns := p.Said.Acting != 0 && (p.Said.Phase == Promote || p.Said.Phase == Active)
		if owns && p.last >= 0 && d.now-p.last < d.t.Silence && d.proven(p) == "" {
			return p.last, true
		}
	}
	return 0, false
}

// acted reports whether the other head of a pair acts, or did when it was heard last, and has not been silent for as long
// as a takeover needs: what was under way for long may come after that was decided.
func (d *decider) acted() bool {
	if !d.asksPeers() {
		return false
	}
	for i := range d.peers {
		if p := &d.peers[i]; p.acts() && p.last >= 0 && d.now-p.last < d.t.Silence && d.proven(p) == "" {
			return true
		}
	}
	return false
}

// owner is the head that is heard to act, or whose claim is to be agreed to; nil: none.
func (d *decider) owner() *other {
	var best *other
	for i := range d.peers {
		p := &d.peers[i]
		if !p.alive || !p.acts() && !d.agrees(p) {
			continue
		}
		if best == nil || p.Said.Acting > best.Said.Acting {
			best = p
		}
	}
	return best
}

// agrees reports whether p, as one of a pair, asks for an epoch that this head has nothing against.
func (d *decider) agrees(p *other) bool {
	s := &p.Said
	if !d.asksPeers() || s.Phase != Claim || s.Acting == 0 || s.Gen < d.rec.ClusterGen {
		return false
	}
	switch {
	case s.Acting < d.rec.Epoch || s.Acting == d.rec.Epoch && d.rec.Owner != p.Name:
		return false // it has not heard yet what this head knows
	case d.m.Phase == Claim && d.m.Epoch > s.Acting:
		return false // the higher of two claims goes on
	case d.newer(s):
		return false
	}
	return true
}

// newer reports whether this head, which owned last, has writes that the head that says s may lack (R5): it owned without that
// one, and the copies have not been seen together since. By what its own copy is uncertain it may be the newer one all the same.
func (d *decider) newer(s *Said) bool {
	if d.rec.Owner != d.v.Self.Name || d.rec.SoloSince.IsZero() || d.v.Mirrored == Up && s.Data == DataUpToDate {
		return false
	}
	return d.v.Data == DataUpToDate || d.v.Data == DataAlone || d.v.Data == DataUnknown
}

// asksPeers reports whether agreement is asked of the other head itself, there being no voters.
func (d *decider) asksPeers() bool { return d.v.Authority.Kind <= Pair }

// anyAlive reports whether any other head is heard.
func (d *decider) anyAlive() bool {
	for i := range d.peers {
		if d.peers[i].alive {
			return true
		}
	}
	return false
}

func (d *decider) peer(id int) *other {
	for i := range d.peers {
		if d.peers[i].ID == id {
			return &d.peers[i]
		}
	}
	return nil
}

func (d *decider) named(name string) *other {
	for i := range d.peers {
		if d.peers[i].Name == name {
			return &d.peers[i]
		}
	}
	return nil
}

// higher is who is known to be above the epoch that this head acts under (R2); empty: nobody.
func (d *decider) higher() string {
	for i := range d.peers {
		p := &d.peers[i]
		switch s := &p.Said; {
		case s.BootID == 0:
		case s.Gen > d.rec.ClusterGen:
			return p.Name + " is of a newer generation of the cluster"
		case s.Acting > d.m.Epoch && (p.acts() || d.asksPeers()):
			return p.Name + " acts or claims under epoch " + s.Acting.String()
		case s.Epoch > d.m.Epoch:
			return p.Name + " knows epoch " + s.Epoch.String()
		}
	}
	if a := &d.v.Authority; a.Kind == Panel && a.Held == d.m.Epoch && a.Until > d.now {
		return "" // nobody else can have the lease
	}
	if k := d.v.Authority.Known; k > d.m.Epoch {
		return "the voters know epoch " + k.String()
	}
	if d.v.Record.Epoch > d.m.Epoch {
		return "its disk knows epoch " + d.v.Record.Epoch.String()
	}
	return ""
}

// proven reports whether p is known to be off, and by what. Proof ends when p is heard again.
func (d *decider) proven(p *other) string {
	if p.alive {
		return ""
	}
	f := &d.v.Fencing
	if f.State == FenceProof && f.Target == p.Name && f.Since > p.last {
		return p.Name + " was fenced: it is off, by the word of the device"
	}
	if p.ID >= 0 && p.ID < MaxHeads && d.m.dead[p.ID].on && d.m.dead[p.ID].at > p.last {
		return "a person says that " + p.Name + " is off"
	}
	return ""
}

// released reports whether p has given up the highest epoch that anybody knows: nobody acts then.
func (d *decider) released(p *other) bool {
	s := &p.Said
	if s.Released == 0 || s.Acting != 0 || s.Released < d.m.known || s.Gen != d.rec.ClusterGen {
		return false
	}
	// While it is heard, only the one that it names may take it as leave; the others ask.
	return s.For == d.v.Self.ID || !p.alive && s.For < 0
}
