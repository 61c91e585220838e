package gossip

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"masthead/appliance/state"
)

// walked is what a walk did.
type walked struct {
	theirs                  Digest // at the beginning
	pulled, pushed, dropped int    // records that moved
	refused                 int    // theirs that we did not take, for their clock
	// ripe is when our clock comes to the first of those; unsure: it did meanwhile, or was set.
	ripe   time.Time
	unsure bool
}

func (w walked) moved() int { return w.pulled + w.pushed + w.dropped }

// walk makes both heads have the later version of everything that differs. progress, if any, hears how many of their
// records are here.
func (r *Replica) walk(ctx context.Context, p *peer, progress func(done, total int)) (walked, error) {
	var w walked
	var err error
	var pullLast, giveLast []state.Key
	var drop []state.Stamp
	w.theirs, err = r.explore(ctx, p, func(theirs Digest, d difference) error {
		if theirs.Complete {
			d.pull, pullLast = horizonLast(d.pull, pullLast)
		}
		if r.db.Summary().Complete {
			d.push, giveLast = horizonLast(d.push, giveLast)
		}
		if err := r.pull(ctx, p, d.pull, &w, func() {
			if progress != nil {
				progress(min(r.db.Summary().Records, theirs.Records), theirs.Records)
			}
		}); err != nil {
			return err
		}
		if len(d.early) > 0 {
			w.refused += len(d.early)
			if at := oldest(d.early).HLC.Time().Add(-state.MaxSkew); w.ripe.IsZero() || at.Before(w.ripe) {
				w.ripe = at
			}
			r.warnAhead(p.Name, len(d.early), newest(d.early))
		}
		if err := r.give(ctx, p, d.push, &w); err != nil {
			return err
		}
		drop = append(drop, d.drop...)
		return nil
	})
	if err == nil {
		err = errors.Join(r.pull(ctx, p, pullLast, &w, func() {}), r.give(ctx, p, giveLast, &w))
	}
	if err != nil || len(drop) == 0 {
		return w, err
	}
	// Only after the horizon: a deletion that is dropped before keeps nobody from bringing back what was deleted.
	w.dropped += len(drop)
	return w, r.db.Drop(drop)
}

// horizonLast takes the horizon out of keys and adds it to last. What a complete head has beside its horizon is not
// forgotten, however old, and who lacks it takes it only as long as its own horizon is an earlier one. That happens to a
// head whose disk was set back, by a snapshot of a virtual machine for one.
func horizonLast(keys, last []state.Key) (rest, horizon []state.Key) {
	at := slices.IndexFunc(keys, state.Key.IsHorizon)
	if at < 0 {
		return keys, last
	}
	k := keys[at]
	return slices.Delete(keys, at, at+1), append(last, k)
}

// explore finds what differs, part by part.
func (r *Replica) explore(ctx context.Context, p *peer, each func(Digest, difference) error) (Digest, error) {
	return r.exploreStamps(ctx, p, func(theirs Digest, a, b []state.Stamp) error {
		return each(theirs, compare(a, b, sideOf(r.db.Summary(), r.conf.Clock.Now()), sideOf(theirs.Summary, r.clockOf(p))))
	})
}

// clockSlack is what two clocks drift between two looks at them, and the network's part in the difference.
const clockSlack = time.Second

// clockOf is what a head's clock shows, and a little more; zero: unknown.
func (r *Replica) clockOf(p *peer) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := p.clock.best()
	if !ok {
		return time.Time{}
	}
	return r.conf.Clock.raw().Add(s.offset + s.delay/2 + clockSlack)
}

func oldest(stamps []state.Stamp) state.Version {
	v := stamps[0].Version
	for _, s := range stamps[1:] {
		if s.Version.HLC < v.HLC {
			v = s.Version
		}
	}
	return v
}

func newest(stamps []state.Stamp) state.Version {
	var v state.Version
	for _, s := range stamps {
		if s.Version.HLC > v.HLC {
			v = s.Version
		}
	}
	return v
}

// exploreStamps gives what both heads have in the leaves that differ, part by part.
func (r *Replica) exploreStamps(ctx context.Context, p *peer, each func(theirDigest Digest, ours, theirs []state.Stamp) error) (Digest, error) {
	body, err := r.ask(ctx, p, callMids, nil)
	if err != nil {
		return Digest{}, err
	}
	const size = state.Fanout * hashBytes
	if len(body) < size {
		return Digest{}, fmt.Errorf("%w: %d bytes of mids", errMessage, len(body))
	}
	theirs, err := decodeDigest(body[size:])
	if err != nil {
		return Digest{}, err
	}
	mids, err := differing(r.db.Mids(), body[:size])
	if err != nil || len(mids) == 0 {
		return theirs, err
	}
	leaves, err := r.differingLeaves(ctx, p, mids)
	if err != nil {
		return theirs, err
	}
	for len(leaves) > 0 {
		part := leaves[:min(len(leaves), maxLeaves)]
		body, err := r.askJSON(ctx, p, callStamps, part)
		if err != nil {
			return theirs, err
		}
		n, rest, err := cutCount(body, len(part))
		if err != nil || n == 0 {
			return theirs, fmt.Errorf("%w: stamps of %d leaves: %w", errMessage, n, err)
		}
		stamps, err := decodeStamps(rest)
		if err != nil {
			return theirs, err
		}
		if err := each(theirs, r.db.Stamps(part[:n]), stamps); err != nil {
			return theirs, err
		}
		leaves = leaves[n:]
	}
	return theirs, nil
}

func (r *Replica) differingLeaves(ctx context.Context, p *peer, mids []int) ([]int, error) {
	body, err := r.askJSON(ctx, p, callLeaves, mids)
	if err != nil {
		return nil, err
	}
	const size = state.Fanout * hashBytes
	if len(body) != size*len(mids) {
		return nil, fmt.Errorf("%w: %d bytes of leaves", errMessage, len(body))
	}
	var leaves []int
	for i, mid := range mids {
		at, err := differing(r.db.Leaves(mid), body[i*size:(i+1)*size])
		if err != nil {
			return nil, err
		}
		for _, leaf := range at {
			leaves = append(leaves, mid*state.Fanout+leaf)
		}
	}
	return leaves, nil
}

// pull fetches records and takes them over.
func (r *Replica) pull(ctx context.Context, p *peer, keys []state.Key, w *walked, progress func()) error {
	return r.fetch(ctx, p, keys, func(records []state.Record) error {
		got, err := r.merge(ctx, p.Name, records)
		if err != nil {
			return err
		}
		w.pulled += got.Taken
		w.refused += got.Ahead
		w.unsure = w.unsure || got.Ahead > 0
		progress()
		return nil
	})
}

// fetch gives a peer's records of keys to each, some at a time.
func (r *Replica) fetch(ctx context.Context, p *peer, keys []state.Key, each func([]state.Record) error) error {
	for len(keys) > 0 {
		part := keys[:min(len(keys), maxRecords)]
		names := make([]string, len(part))
		for i, k := range part {
			names[i] = k.String()
		}
		body, err := r.askJSON(ctx, p, callRecords, names)
		if err != nil {
			return err
		}
		n, rest, err := cutCount(body, len(part))
		if err != nil || n == 0 {
			return fmt.Errorf("%w: records of %d keys: %w", errMessage, n, err)
		}
		records, err := state.DecodeBatch(rest)
		if err != nil {
			return err
		}
		if err := each(records); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}

// Fetch gives another head's records of keys as it has them; those that it lacks are left out. Nothing is taken over.
func (r *Replica) Fetch(ctx context.Context, head string, keys []state.Key) ([]state.Record, error) {
	p, err := r.peer(head)
	if err != nil {
		return nil, err
	}
	var all []state.Record
	err = r.fetch(ctx, p, keys, func(records []state.Record) error {
		all = append(all, records...)
		return nil
	})
	return all, err
}

// give pushes records that the peer lacks.
func (r *Replica) give(ctx context.Context, p *peer, keys []state.Key, w *walked) error {
	for len(keys) > 0 {
		part := keys[:min(len(keys), maxRecords)]
		records, err := r.db.Records(part)
		if err != nil {
			return err
		}
		for _, batch := range batches(records) {
			body, err := r.ask(ctx, p, callPush, state.EncodeBatch(batch))
			if err != nil {
				return err
			}
			got, err := decodeJSON[pushed](body)
			if err != nil {
				return err
			}
			w.pushed += got.Taken
		}
		keys = keys[len(part):]
	}
	return nil
}

func (r *Replica) askJSON(ctx context.Context, p *peer, what string, v any) ([]byte, error) {
	body, err := encodeJSON(v)
	if err != nil {
		return nil, err
	}
	return r.ask(ctx, p, what, body)
}

// ask is one call of bounded time.
func (r *Replica) ask(ctx context.Context, p *peer, what string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, r.conf.Timing.Call)
	defer cancel()
	answer, err := r.call(ctx, p, what, body)
	if err != nil {
		return nil, fmt.Errorf("gossip: ask %s for %s: %w", p.Name, what, err)
	}
	return answer, nil
}
