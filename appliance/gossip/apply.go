package gossip

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"masthead/appliance/state"
)

// Apply implements state.Store: it makes the changes here, durably, and waits until another head has them too, for at
// most Timing.Ack. If none has, Ack.Degraded says why; the changes then reach the others later. A cluster with a single
// configured head is never degraded.
func (r *Replica) Apply(ctx context.Context, o state.Origin, ops ...state.Op) (state.Ack, error) {
	if err := r.mayWrite(ctx); err != nil {
		return state.Ack{}, err
	}
	ack, err := r.db.Apply(ctx, o, ops...)
	if err != nil || ack.Version.IsZero() {
		return ack, err
	}
	if slices.ContainsFunc(ops, func(op state.Op) bool { return op.Key.Kind == state.KindHead }) {
		r.refresh() // a head that is none any more is not waited for
	}
	r.poke()
	ack.Degraded = r.await(ctx, ack.Seq)
	return ack, nil
}

// mayWrite refuses writes that every other head would refuse or ignore for their versions' clock. Before it does, it looks at
// their clocks anew: ours may have been set right just now.
func (r *Replica) mayWrite(ctx context.Context) error {
	if r.clockFits() == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.conf.Timing.Ack)
	defer cancel()
	var wg sync.WaitGroup
	for _, p := range r.all() {
		wg.Go(func() { r.probe(ctx, p) })
	}
	wg.Wait()
	return r.clockFits()
}

// clockFits compares our versions' clock with those of the heads that are there, and with what they have forgotten.
func (r *Replica) clockFits() error {
	ours, now := r.db.Summary(), time.Now()
	held, wall := r.conf.Clock.Held(), r.conf.Clock.Now()
	theirs := map[string]time.Duration{}
	r.mu.Lock()
	var late error
	for _, p := range r.list {
		if s, ok := p.clock.best(); ok && p.alive(now, r.conf.Timing) {
			theirs[p.Name] = s.offset + held
		}
		if err := behind(ours, p.digest.Horizon, wall, p.Name); err != nil {
			late = err
		}
	}
	r.mu.Unlock()
	if late != nil {
		return late
	}
	return aheadOfAll(theirs)
}

// await waits until another head has our commit seq, and gives why none has.
func (r *Replica) await(ctx context.Context, seq uint64) string {
	timer := time.NewTimer(r.conf.Timing.Ack)
	defer timer.Stop()
	for {
		done, hope, changed, why := r.heads(seq)
		if done {
			return ""
		}
		if !hope {
			return "no other head has it: " + why
		}
		select {
		case <-changed:
		case <-timer.C:
			return fmt.Sprintf("no other head has it: no answer within %v; %s", r.conf.Timing.Ack, why)
		case <-ctx.Done():
			return "no other head had it when the caller stopped waiting"
		}
	}
}

// heads asks what the others have: done, one has it or there is none; hope, one may still say so; else why not.
func (r *Replica) heads(seq uint64) (done, hope bool, changed <-chan struct{}, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.peers) == 0 {
		return true, false, nil, ""
	}
	if !r.running {
		return false, false, nil, "this head does not talk to the others at the moment"
	}
	var reasons []string
	for _, p := range r.list {
		if p.has(seq) {
			return true, false, nil, ""
		}
		if err := p.hopeless(seq); err != nil {
			reasons = append(reasons, err.Error())
		} else {
			hope = true
			reasons = append(reasons, p.Name+" has not confirmed")
		}
	}
	return false, hope, r.changed, strings.Join(reasons, "; ")
}
