package appliance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"masthead/appliance/state"
	"masthead/node/wire"
)

const (
	// watchEvery is how often a head asks the others whether it is still one of them.
	watchEvery = 5 * time.Second
	// watchTimeout bounds one such question.
	watchTimeout = 2 * time.Second
	// joinRetry is how long a head that cannot join yet waits before it tries again.
	joinRetry = time.Second
	// refusedRetry is the same for one that was refused: a token that was used will not become new.
	refusedRetry = time.Minute
)

// runMembership looks after how this head stands to the others: it goes on with a join or a leave that is under way,
// and finds out when this head was taken out of its cluster while it was off.
func (h *Head) runMembership(ctx context.Context) error {
	said := "" // the last trouble: what goes on for days is one event
	for {
		pause := watchEvery
		var err error
		switch p := h.member.phase(); {
		case p == phaseSyncing:
			pause = joinRetry
			if err = h.finishJoin(ctx); err == nil {
				h.restart()
				return nil
			}
			if removed, e := h.lookAround(ctx); removed {
				err = e // it was ejected before it was a whole head
			}
		case p == phaseLeaving:
			pause = joinRetry
			if err = h.finishLeave(ctx); err == nil {
				h.restart()
				return nil
			}
		case h.wantsToJoin():
			pause = joinRetry
			var no *problem
			if err = h.joinBySelf(ctx); errors.As(err, &no) && no.status < http.StatusInternalServerError {
				pause = refusedRetry
			}
		case p == phaseNone:
			removed := false
			if removed, err = h.lookAround(ctx); err == nil && !removed {
				h.confirmed.Store(true)
				err = errors.Join(h.rememberHeads(), h.settleNumber(ctx))
			}
		}
		if err != nil && ctx.Err() == nil && h.member.stuck(err) && err.Error() != said {
			said = err.Error()
			h.event(said, true)
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-h.member.kick:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// kickMembership makes runMembership look at once.
func (h *Head) kickMembership() {
	select {
	case h.member.kick <- struct{}{}:
	default:
	}
}

// wantsToJoin reports whether this head was told at its start to join a cluster, and has nothing of its own that speaks
// against it: a head that was taken out of its cluster has nothing that counts.
func (h *Head) wantsToJoin() bool {
	p := h.member.phase()
	return h.member.wants && (p == phaseRemoved || p == phaseNone && h.solo())
}

// settleWish decides whether the wish to join holds: not for a head that has been in use.
func (h *Head) settleWish() error {
	removed := h.member.phase() == phaseRemoved
	if !h.cfg.Join || !removed && (h.member.phase() != phaseNone || !h.solo()) {
		return nil
	}
	if removed {
		h.member.wants = h.cfg.JoinToken != ""
		return nil
	}
	own, err := h.givesUp()
	h.member.wants = err == nil && len(own) == 0
	if len(own) > 0 {
		h.log.Warn("this head was told to join a cluster, and does not: it has nodes or images of its own", "own", listText(own),
			"try", "masthead head join ADDRESS --token-file FILE --discard")
	}
	return err
}

// lookAround asks all other heads whether this one is configured for them, and takes over what they know of heads and
// keys. That goes over TLS alone, so a head that was off while the gossip key changed finds back. A head that was removed
// stops here.
func (h *Head) lookAround(ctx context.Context) (removed bool, err error) {
	reason := ""
	for name, seen := range h.views(ctx, h.peerRecords(), false) {
		switch {
		case seen.gone() != "":
			reason = seen.gone()
		case seen.err == nil && !seen.view.Joining:
			if err := h.takeOver(ctx, seen.view.Records); err != nil {
				h.log.Warn("what another head knows of heads", "head", name, "err", err)
			}
		}
	}
	if reason == "" {
		if h.member.phase() == phaseNone {
			h.member.note("", 0, 0)
		}
		return false, nil
	}
	h.event(reason, true)
	if err := h.setPhase(memberFile{Phase: phaseRemoved, Since: time.Now().UTC(), Reason: reason}); err != nil {
		return true, err
	}
	h.restart()
	return true, nil
}

// seen is what another head answers to the question of whom it knows.
type seen struct {
	view wire.PeerView
	err  error
}

// gone is what the other head says when it has removed this one; empty: it has not.
func (s seen) gone() string {
	var p *wire.ProblemError
	if errors.As(s.err, &p) && p.Status == http.StatusGone {
		return p.Detail
	}
	return ""
}

// alive: also a head that refuses us is there. One that serves nobody, since it was itself removed, is not.
func (s seen) alive() bool {
	var p *wire.ProblemError
	return s.err == nil || errors.As(s.err, &p) && p.Status != http.StatusServiceUnavailable
}

// views asks several heads at once. In a hurry those that are silent get little time; that is no proof that they are
// dead, so it is not for what cannot be taken back.
func (h *Head) views(ctx context.Context, heads map[string]wire.HeadRecord, hurry bool) map[string]seen {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	var mu sync.Mutex
	var all sync.WaitGroup
	answers := map[string]seen{}
	for name := range heads {
		all.Go(func() {
			ctx := ctx
			if hurry && !h.headAlive(name) {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, silentTimeout)
				defer cancel()
			}
			view, err := askPeer[wire.PeerView](ctx, h, name, http.MethodGet, wire.PathPeerView, nil)
			mu.Lock()
			defer mu.Unlock()
			answers[name] = seen{view, err}
		})
	}
	all.Wait()
	return answers
}

// liveHeads are the other heads that answer now, in order.
func (h *Head) liveHeads(ctx context.Context, hurry bool) []string {
	var live []string
	for name, seen := range h.views(ctx, h.peerRecords(), hurry) {
		if seen.alive() {
			live = append(live, name)
		}
	}
	slices.Sort(live)
	return live
}

// takeOver merges records of heads and of the gossip key, and nothing else.
func (h *Head) takeOver(ctx context.Context, batch []byte) error {
	records, err := state.DecodeBatch(batch)
	if err != nil {
		return err
	}
	kept := records[:0]
	for _, r := range records {
		if r.Key.Kind == state.KindHead || r.Key == (state.Key{Kind: state.KindSecret, Name: secretGossip}) {
			kept = append(kept, r)
		}
	}
	return h.merge(ctx, kept)
}

// maxPeerAnswer bounds what another head answers to questions about heads.
const maxPeerAnswer = 4 << 20

// askPeer asks another configured head something. A refusal is a *wire.ProblemError.
func askPeer[T any](ctx context.Context, h *Head, name, method, path string, in any) (T, error) {
	var out T
	rec, ok := h.heads()[name]
	if !ok {
		return out, fmt.Errorf("%s is not a configured head", name)
	}
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return out, err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, rec.URL()+path, body)
	if err != nil {
		return out, err
	}
	resp, err := h.peerClient(name).Do(req)
	if err != nil {
		return out, fmt.Errorf("head %s: %w", name, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxPeerAnswer))
	if err != nil {
		return out, fmt.Errorf("head %s: %w", name, err)
	}
	if resp.StatusCode > 299 {
		p := &wire.ProblemError{Method: method, URL: rec.URL() + path}
		if json.Unmarshal(data, &p.Problem) != nil {
			p.Problem.Detail = string(data[:min(len(data), 200)])
		}
		p.Status = resp.StatusCode
		return out, p
	}
	if resp.StatusCode == http.StatusNoContent {
		return out, nil
	}
	if err := json.Unmarshal(data, &out); err != nil {
		return out, fmt.Errorf("head %s: %s: the answer is not what was expected: %w", name, path, err)
	}
	return out, nil
}
