package failover

import "time"

// fenceFirst has the peer fenced before this head takes over.
func (d *decider) fenceFirst(p *other, alone bool) Phase {
	d.confirmTry(p)
	if d.v.Uplink == Down {
		// It is rather this head that is cut off. It could do nothing for anybody as the owner.
		d.noUplink()
		return Suspect
	}
	wait := d.t.Suspect + d.t.FenceDelay
	if alone {
		// Two heads that have booted apart must not fence one another at the same moment.
		wait = d.t.JoinWait + d.t.FenceDelay*time.Duration(1+2*d.v.Self.ID)
	}
	if p.silent < wait && d.m.fencing != p.ID {
		d.summary("nothing is heard of ", p.Name, ": it is fenced in a moment, unless it fences first")
		return Suspect
	}
	switch d.shoot(p) {
	case FenceFailed:
		d.summary("not taking over: ", p.Name, " could not be fenced, and nothing proves that it is off")
		d.no("fencing failed: ", d.v.Fencing.Detail)
		return Blocked
	default:
		d.summary("waits for the proof that ", p.Name, " is off")
		d.no("it is being fenced")
		return Fence
	}
}

// shoot keeps p being fenced until there is proof or failure, and tries again after a failure.
func (d *decider) shoot(p *other) FencingState {
	m, f := d.m, &d.v.Fencing
	answered := f.Target == p.Name && f.Since >= m.fenced
	switch {
	case m.fencing != p.ID:
		m.fencing, m.fenced = p.ID, d.now
		d.event(true, false, "fences ", p.Name, ", of which nothing is heard")
	case answered && f.State == FenceFailed && d.now-f.Since < d.t.FenceRetry:
		return FenceFailed
	case answered && (f.State == FenceFailed || f.State == FenceProof):
		m.fenced = d.now // a proof that did not count any more was no proof
	}
	d.out.Fence = p.Name
	return FenceRunning
}

// cease ends the fencing of heads that are heard again. What the device has begun it ends; only the next silence begins
// another one.
func (d *decider) cease() {
	m := d.m
	if m.fencing < 0 {
		return
	}
	if p := d.peer(m.fencing); p == nil || p.alive {
		m.fencing = -1
	}
}

// guard is an owner whose peer is silent: it fences before the peer, which waits longer, fences it. Where voters decide who
// owns there is no hurry: then it is for the data alone, whose writes wait for a word that the voters do not give.
func (d *decider) guard() {
	waits := d.m.frozen.since(d.now, d.t.Silence)
	if d.v.Authority.Kind != Pair && !waits || !d.v.Fencing.Possible || d.v.Uplink == Down {
		return
	}
	// Where the gateway is silent too it may be this head that is cut off, and the other one that clients reach.
	if d.v.GatewaySilent > d.t.Suspect {
		return
	}
	for i := range d.peers {
		p := &d.peers[i]
		// One beat in ten may get lost (I7, I11): the owner is in no hurry but to be first.
		wait := min(d.t.Silence, d.t.Suspect+d.t.FenceDelay/2)
		if !waits && d.m.fencing != p.ID && p.ID >= 0 && p.ID < MaxHeads && d.m.able[p.ID] != p.Said.BootID {
			// It has not been able to take over since it booted, and R5 keeps it from fencing first; no write waits for it. Most
			// likely it is starting, with much to do.
			wait = d.t.Patience
		}
		if !p.suspect || p.silent < wait || p.last < 0 && !(waits && d.m.restarted) || p.Said.Leaving || d.proven(p) != "" || waits && p.NoCopy {
			continue
		}
		if d.shoot(p) == FenceFailed {
			d.no(p.Name, " could not be fenced: ", d.v.Fencing.Detail)
			d.confirmTry(p)
		}
		return
	}
}
