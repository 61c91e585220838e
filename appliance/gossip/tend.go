package gossip

import (
	"context"
	"time"

	"masthead/appliance/state"
)

// tend looks after one head: its clock every few seconds, and a walk when its state stays different.
func (r *Replica) tend(ctx context.Context, p *peer) {
	t := r.conf.Timing
	for ctx.Err() == nil {
		now, wall, ours := time.Now(), r.conf.Clock.Now(), r.db.Summary()
		r.mu.Lock()
		probe, walk, next := p.due(now, wall, ours, r.conf.Name, t)
		p.asleep = next
		rebuilt := p.rebuilt(ours)
		r.mu.Unlock()
		if rebuilt {
			r.rebuilt(p)
		}
		switch {
		case probe:
			r.probe(ctx, p)
			continue
		case walk:
			r.repair(ctx, p)
			continue
		}
		timer := time.NewTimer(next.Sub(now))
		select {
		case <-ctx.Done():
		case <-p.woken:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// probe compares clocks and digests with a head.
func (r *Replica) probe(ctx context.Context, p *peer) {
	defer func() {
		r.mu.Lock()
		p.probed = time.Now()
		r.mu.Unlock()
	}()
	ctx, cancel := context.WithTimeout(ctx, r.conf.Timing.Call)
	defer cancel()
	t0 := r.conf.Clock.raw()
	body, err := r.call(ctx, p, callTime, r.digest())
	t3 := r.conf.Clock.raw()
	if err != nil {
		return // it is in the peer's status
	}
	t1, t2, theirs, err := decodeTimes(body)
	if err != nil {
		r.conf.Log.Debug("compare clocks", "head", p.Name, "err", err)
		return
	}
	now := time.Now()
	s := sampleOf(now, t0, t1, t2, t3)
	r.mu.Lock()
	p.clock = p.clock.add(s)
	r.mu.Unlock()
	if s.offset.Abs()+s.delay/2 <= state.MaxSkew {
		r.conf.Clock.agreed()
	}
	if d, err := decodeDigest(theirs); err == nil && d.Head == p.Name {
		r.take(p, d, nil, now)
	}
}

// repair walks with a head if its state is still another.
func (r *Replica) repair(ctx context.Context, p *peer) {
	ours := r.db.Summary()
	r.mu.Lock()
	if p.compareRoots(ours, time.Now()) {
		r.notifyLocked()
	}
	equal := p.equal
	r.mu.Unlock()
	if equal {
		return
	}
	w, err := r.walk(ctx, p, nil)
	r.mu.Lock()
	p.walked = time.Now()
	switch {
	case err != nil:
	case w.moved() == 0:
		p.stuck++
		p.vain = vainWalk{!w.unsure, ours.Root, w.theirs.Root, w.ripe}
	default:
		p.stuck = 0
	}
	r.mu.Unlock()
	if err != nil {
		r.conf.Log.Debug("walk", "head", p.Name, "err", err)
		return
	}
	r.conf.Log.Debug("walk", "head", p.Name, "pulled", w.pulled, "pushed", w.pushed, "dropped", w.dropped, "refused", w.refused)
	if err := r.becomeComplete(w); err != nil {
		r.conf.Log.Error("after a walk", "head", p.Name, "err", err)
	}
	r.poke()
}

// rebuilt notes that this head is complete if its state is that of a complete one.
func (r *Replica) rebuilt(p *peer) {
	ours := r.db.Summary()
	r.mu.Lock()
	is := p.rebuilt(ours)
	r.mu.Unlock()
	if !is {
		return
	}
	if err := r.db.SetComplete(); err != nil {
		r.conf.Log.Error("note that the state is complete", "err", err)
	}
}

// becomeComplete: a head that has had everything that a complete one has is complete.
func (r *Replica) becomeComplete(w walked) error {
	if w.refused > 0 || !w.theirs.Complete || r.db.Summary().Complete {
		return nil
	}
	return r.db.SetComplete()
}
