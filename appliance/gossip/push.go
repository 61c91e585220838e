package gossip

import (
	"context"
	"errors"
	"fmt"
	"time"

	"masthead/appliance/state"
)

// pushAll sends a peer each commit of this head, one batch at a time; what comes meanwhile gathers, the last version of
// each key. It gives up nothing: what a peer that is off missed goes to it when it is back, unless a walk was faster.
func (r *Replica) pushAll(ctx context.Context, p *peer, feed *state.Watch) {
	for {
		records, seq, err := feed.NextSeq(ctx)
		if err != nil {
			return
		}
		refused := ""
		for _, batch := range batches(records) {
			answer, err := r.pushUntil(ctx, p, batch)
			if err != nil {
				return
			}
			if answer.Ahead+answer.Ignored > 0 {
				refused = answer.refusal(p.Name, r.conf.Name)
			}
		}
		r.mu.Lock()
		if refused != "" {
			p.from, p.refused = max(p.from, seq), refused
		} else {
			p.acked = max(p.acked, seq)
		}
		r.notifyLocked()
		r.mu.Unlock()
	}
}

// refusal puts in words that a head did not take records of ours.
func (a pushed) refusal(peer, own string) string {
	if a.Ahead > 0 {
		return fmt.Sprintf("%s refuses it: the clock of %s is %.1f s ahead of its own", peer, own, a.Lead)
	}
	return fmt.Sprintf("%s ignores it: it is older than what all heads have forgotten", peer)
}

// pushUntil sends one batch until the peer has it. It ends with an error only with ctx.
func (r *Replica) pushUntil(ctx context.Context, p *peer, batch []state.Record) (pushed, error) {
	body := state.EncodeBatch(batch)
	wait := r.conf.Timing.Retry
	for {
		answer, err := r.push(ctx, p, body)
		r.mu.Lock()
		if err == nil {
			p.pushErr = nil
		} else if ctx.Err() == nil {
			if p.pushErr == nil {
				p.pushSince = time.Now()
			}
			p.pushErr = err
		}
		r.notifyLocked()
		r.mu.Unlock()
		if err == nil {
			return answer, nil
		}
		select {
		case <-ctx.Done():
			return pushed{}, ctx.Err()
		case <-p.again:
		case <-time.After(wait):
			wait = min(2*wait, r.conf.Timing.RetryMax)
		}
	}
}

func (r *Replica) push(ctx context.Context, p *peer, batch []byte) (pushed, error) {
	ctx, cancel := context.WithTimeout(ctx, r.conf.Timing.Push)
	defer cancel()
	body, err := r.call(ctx, p, callPush, batch)
	if err != nil {
		return pushed{}, err
	}
	return decodeJSON[pushed](body)
}

// call asks something of a peer, and notes whether it answers.
func (r *Replica) call(ctx context.Context, p *peer, what string, body []byte) ([]byte, error) {
	answer, err := r.link.call(ctx, p.Name, what, body)
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return nil, ctx.Err() // we gave up, not it
	}
	now := time.Now()
	var said answered
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil || errors.As(err, &said) {
		p.seen = now
		if p.down != nil {
			p.down = nil
			select {
			case p.again <- struct{}{}:
			default:
			}
			r.notifyLocked()
		}
		var proto *protocolError
		if errors.As(err, &proto) {
			p.reason = err
			p.digest.Version = proto.Version
			r.notifyLocked()
		} else if p.reason != nil {
			p.reason = nil
		}
	} else {
		if p.down == nil {
			p.downSince = now
		}
		p.down = err
		r.notifyLocked()
	}
	return answer, err
}

// answered is an error that the other head gave as its answer: it is there.
type answered interface {
	error
	Answered()
}
