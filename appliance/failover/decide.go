package failover

// Decide says what the head that sees v is to do from now on.
//
// It is to be called whenever something in v changes, and at least every Timing.Suspect/4: a head that was not asked for
// longer takes it that it has stood still, and does not trust its own silence. Who performs a decision does it in this
// order: shut what is to be shut, write the record, and then the rest; if the record cannot be written, not the rest.
func Decide(v View, now Instant) Decision {
	out := Decision{Memory: v.Memory, Record: v.Record}
	var peers [MaxHeads]other
	d := decider{v: &v, now: now, t: &v.Policy.Timing, m: &out.Memory, rec: &out.Record, out: &out, peers: peers[:min(len(v.Peers), MaxHeads)]}
	d.look()
	d.confirm()
	// A step may end in a phase in which there is something to do at once.
	for range len(phases) {
		before := d.m.Phase
		d.out.Why = Why{}
		d.step()
		if d.m.Phase == before {
			break
		}
	}
	d.decision()
	return out
}

// decider is one call of Decide. What has pointers is behind a pointer of it, so that the compiler sees that neither it nor
// the view outlives the call, and nothing is left to be collected: simulations call Decide a billion times.
type decider struct {
	v     *View
	now   Instant
	t     *Timing
	out   *Decision
	m     *Memory // as it will be
	rec   *Record // as it is to be on the disk
	peers []other
	until Instant // the gate may be open until then; meaningful with open
	open  bool
	// content: what holds up a takeover is no fault, and nobody has to be told.
	content bool
}

func (d *decider) step() {
	switch d.m.Phase {
	case Boot:
		d.boot()
	case Promote:
		d.promote()
	case Active:
		d.active()
	case Release:
		d.release()
	case SelfFence:
		d.summary("is being reset: ", d.m.reason)
	default:
		d.idle()
	}
}

func (d *decider) enter(p Phase) {
	if p != d.m.Phase {
		d.m.Phase, d.m.Since = p, d.now
	}
}

// decision is the state of things that follows from where the head stands.
func (d *decider) decision() {
	d.record()
	d.promised()
	d.changes()
	m, out := d.m, d.out
	out.Want, out.Services, out.Say = d.want(), Stop, d.say()
	// Two of a pair that were parted: nothing is begun before one of them has given way.
	rival := d.rival()
	if m.Phase == Promote && !(rival && d.v.Services == ServicesStopped) || m.Phase == Active {
		out.Services = Run
	}
	if d.acted() && !d.gateOpen() {
		d.open = false
	}
	// R1: the epoch is on the disk, and the lease is live.
	if m.Phase == Active && d.open && d.until > d.now && d.v.Record.Epoch == m.Epoch && d.v.Record.Owner == d.v.Self.Name {
		out.Gate = Gate{Open: true, Epoch: m.Epoch, Until: min(d.until, d.now+d.t.Gate)}
	}
	if m.Phase == SelfFence {
		out.Reset = m.reason
	}
	out.Word = d.word(out.Services)
	out.Why.Phase, out.Why.Since = m.Phase, m.Since
}

// want is the epoch whose lease is to be held.
func (d *decider) want() Epoch {
	switch m := d.m; m.Phase {
	case Claim, Promote, Active:
		return m.Epoch
	case Release:
		// The lease is what covers an orderly stop. Then it is given back, so that the other head need not wait for its end.
		if !m.lost && !d.stopped() {
			return m.Epoch
		}
	}
	return 0
}

// say is what the other heads are told.
func (d *decider) say() Said {
	m, self := d.m, &d.v.Self
	s := Said{
		BootID: shortBootID(self.BootID), Gen: d.rec.ClusterGen, Epoch: d.rec.Epoch, Phase: m.Phase, Released: m.released,
		Yields: d.yields(), For: -1, Data: d.v.Data, Older: d.v.Older, Have: d.v.Have,
		Uplink: d.v.Uplink, Unhealthy: self.Unhealthy != "", Leaving: self.Stopping,
	}
	switch {
	case m.Phase.Holds():
		s.Acting = m.Epoch
	case m.Phase == Claim && d.asksPeers():
		// A number that voters are asked for is nothing to the other heads before it is granted: a claim that comes to
		// nothing must not topple an owner.
		s.Acting = m.Epoch
	}
	if m.released != 0 && m.target >= 0 {
		s.For = m.target
	}
	return s
}

// yields is the epoch of another head that this one agrees to: it holds nothing, and its disk knows that epoch.
func (d *decider) yields() Epoch {
	o := d.named(d.rec.Owner)
	if d.m.Phase.Holds() || d.m.Phase == Claim && d.asksPeers() || !d.stopped() || o == nil || !o.alive {
		return 0
	}
	return d.rec.Epoch
}

// stopped reports whether this head has no effect on anything any more.
func (d *decider) stopped() bool { return d.v.Services == ServicesStopped && !d.gateOpen() }

func (d *decider) gateOpen() bool { return d.v.Gate.Open && d.v.Gate.Until > d.now }

// shortBootID is FNV-1a of the boot id; never 0.
func shortBootID(id string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(id) {
		h = (h ^ uint64(id[i])) * 1099511628211
	}
	return max(h, 1)
}
