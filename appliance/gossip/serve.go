package gossip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"masthead/appliance/state"
)

// saying is a digest and its bytes, which nobody changes.
type saying struct {
	of    state.Summary
	bytes []byte
}

// digest is ours, as of now. Most of the time it is that of a second ago.
func (r *Replica) digest() []byte {
	sum := r.db.Summary()
	s := r.said.Load()
	if s == nil || s.of != sum {
		s = &saying{sum, Digest{Protocol, r.conf.Name, r.conf.Version, sum}.encode()}
		r.said.Store(s)
	}
	return s.bytes
}

func (r *Replica) sendDigests() {
	d := r.digest()
	for _, p := range r.all() {
		r.link.send(p.Name, d)
	}
}

// heard takes a digest that came by the membership protocol. Whoever has no key of the cluster cannot send one, and
// that of a head that is not configured is dropped.
func (r *Replica) heard(data []byte) {
	now := time.Now()
	if r.heardBefore(data, now) {
		return
	}
	d, err := decodeDigest(data)
	if err != nil && !errors.Is(err, errProtocol) {
		r.conf.Log.Debug("a digest that is none", "err", err)
		return
	}
	p, notPeer := r.peer(d.Head)
	if notPeer != nil {
		return
	}
	r.mu.Lock()
	p.gossiped, p.raw = now, nil
	if err == nil {
		p.raw = bytes.Clone(data)
	}
	r.mu.Unlock()
	r.take(p, d, err, now)
}

// heardBefore is the short way for what comes each second: a digest that says what it said before.
func (r *Replica) heardBefore(data []byte, now time.Time) bool {
	ours := r.db.Summary()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.list {
		if p.equal && bytes.Equal(data, p.raw) && p.digest.Root == ours.Root && ours.Complete {
			p.seen, p.gossiped = now, now
			p.compareRoots(ours, now)
			return true
		}
	}
	return false
}

// take notes what a head says of its state.
func (r *Replica) take(p *peer, d Digest, protocol error, now time.Time) {
	ours := r.db.Summary()
	r.mu.Lock()
	defer r.mu.Unlock()
	p.seen, p.digest = now, d
	if protocol != nil {
		p.reason = &protocolError{d.Head, d.Version, d.Protocol, r.conf.Name, r.conf.Version}
		r.notifyLocked()
		return
	}
	p.reason = nil
	if p.compareRoots(ours, now) {
		r.notifyLocked()
	}
	if p.differs == now || p.down != nil || p.rebuilt(ours) {
		p.kick()
	}
}

// serve answers what another head asks. The caller has authenticated it.
func (r *Replica) serve(ctx context.Context, from, what string, body []byte) ([]byte, error) {
	p, err := r.peer(from)
	if err != nil {
		return nil, err
	}
	received := r.conf.Clock.raw()
	r.mu.Lock()
	p.seen = time.Now()
	if what == callMids || what == callStamps || what == callRecords {
		p.visited = p.seen
	}
	if p.down != nil {
		p.kick()
	}
	r.mu.Unlock()
	switch what {
	case callTime:
		d, err := decodeDigest(body)
		if err != nil || d.Head != from {
			return nil, fmt.Errorf("%w: a digest of %q from %s: %w", errMessage, d.Head, from, err)
		}
		r.take(p, d, nil, time.Now())
		return encodeTimes(received, r.conf.Clock.raw(), r.digest()), nil
	case callSummary:
		return r.digest(), nil
	case callMids:
		return append(encodeHashes(r.db.Mids()), r.digest()...), nil
	case callLeaves:
		return r.serveLeaves(body)
	case callStamps:
		return r.serveStamps(body)
	case callRecords:
		return r.serveRecords(body)
	case callPush:
		return r.servePush(ctx, from, body)
	case callApply:
		return r.serveApply(ctx, body)
	}
	return nil, fmt.Errorf("%w: no such question: %.20q", errMessage, what)
}

func (r *Replica) serveLeaves(body []byte) ([]byte, error) {
	mids, err := decodeJSON[[]int](body)
	if err != nil || len(mids) > state.Fanout {
		return nil, fmt.Errorf("%w: list of %d mids: %w", errMessage, len(mids), err)
	}
	var out []byte
	for _, mid := range mids {
		leaves := r.db.Leaves(mid)
		if leaves == nil {
			return nil, fmt.Errorf("%w: no mid %d", errMessage, mid)
		}
		out = append(out, encodeHashes(leaves)...)
	}
	return out, nil
}

func (r *Replica) serveStamps(body []byte) ([]byte, error) {
	leaves, err := decodeJSON[[]int](body)
	if err != nil || len(leaves) > maxLeaves {
		return nil, fmt.Errorf("%w: list of %d leaves: %w", errMessage, len(leaves), err)
	}
	var stamps []state.Stamp
	done := 0
	for _, leaf := range leaves {
		if len(stamps) > maxStamps {
			break
		}
		stamps = append(stamps, r.db.Stamps([]int{leaf})...)
		done++
	}
	return withCount(done, encodeStamps(stamps)), nil
}

func (r *Replica) serveRecords(body []byte) ([]byte, error) {
	names, err := decodeJSON[[]string](body)
	if err != nil || len(names) > maxRecords {
		return nil, fmt.Errorf("%w: list of %d keys: %w", errMessage, len(names), err)
	}
	keys := make([]state.Key, len(names))
	for i, n := range names {
		if keys[i], err = state.ParseKey(n); err != nil {
			return nil, fmt.Errorf("%w: %w", errMessage, err)
		}
	}
	records, err := r.db.Records(keys)
	if err != nil {
		return nil, err
	}
	done := len(keys)
	if parts := batches(records); len(parts) > 1 { // the rest is asked for again
		next := parts[1][0].Key
		records = parts[0]
		for i, k := range keys {
			if k == next {
				done = i
			}
		}
	}
	return withCount(done, state.EncodeBatch(records)), nil
}

func (r *Replica) servePush(ctx context.Context, from string, body []byte) ([]byte, error) {
	records, err := state.DecodeBatch(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMessage, err)
	}
	answer, err := r.merge(ctx, from, records)
	if err != nil {
		return nil, err
	}
	return encodeJSON(answer)
}

// merge takes records over, durably, and tells people if some are of a clock that is wrong.
func (r *Replica) merge(ctx context.Context, from string, records []state.Record) (pushed, error) {
	m, err := r.db.Merge(ctx, records)
	if err == nil && m.Ahead > 0 && r.clockIsRight(ctx, from) {
		m, err = r.db.Merge(ctx, records)
	}
	if err != nil {
		return pushed{}, err
	}
	out := pushed{Taken: m.Taken, Stale: m.Stale, Ignored: m.Ignored, Ahead: m.Ahead, Lead: m.Lead.Seconds()}
	if m.Taken > 0 {
		r.poke()
	}
	if m.Ahead > 0 {
		newest := records[0].Version
		for _, rec := range records {
			if rec.Version.HLC > newest.HLC {
				newest = rec.Version
			}
		}
		out.Head = newest.Head
		r.warnAhead(from, m.Ahead, newest)
	}
	return out, nil
}

// warnAhead tells people of records that are refused for the clock of who wrote them.
func (r *Replica) warnAhead(from string, n int, newest state.Version) {
	lead := newest.HLC.Time().Sub(r.conf.Clock.Now())
	r.warn("ahead "+newest.Head, fmt.Sprintf(
		"%d records from %s are refused until our clock is there: the clock of %s, which wrote them, is %.1f s ahead of ours",
		n, from, newest.Head, lead.Seconds()))
}

// clockIsRight asks the head whose records are too far ahead for its time, where our own clock was set forward and that
// is not used yet. It reports whether it is now.
func (r *Replica) clockIsRight(ctx context.Context, head string) bool {
	p, err := r.peer(head)
	if err != nil || r.conf.Clock.Held() == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, r.conf.Timing.Push/2) // it waits for the answer to its push
	defer cancel()
	r.probe(ctx, p)
	return r.conf.Clock.Held() == 0
}

func (r *Replica) serveApply(ctx context.Context, body []byte) ([]byte, error) {
	req, err := decodeJSON[applyRequest](body)
	if err != nil {
		return nil, err
	}
	if err := r.mayWrite(ctx); err != nil {
		return nil, err
	}
	// Not through our Apply: who asks takes the records over and is the second head that has them.
	ack, err := r.db.Apply(ctx, req.Origin, req.Ops...)
	if err != nil {
		return nil, err
	}
	if !ack.Version.IsZero() {
		r.poke()
	}
	records, err := r.db.Records(keysOf(req.Ops))
	if err != nil {
		return nil, err
	}
	head, err := encodeJSON(ack)
	if err != nil {
		return nil, err
	}
	return append(withCount(len(head), head), state.EncodeBatch(records)...), nil
}
