package gossip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"masthead/appliance/state"
)

// PeerStatus is another configured head as this one sees it.
type PeerStatus struct {
	Name    string
	Alive   bool      // something was heard of it in the last seconds
	Seen    time.Time // the last word from it; zero: none since this head started
	Root    string    // hash of its whole state as it last said; empty: unknown
	Equal   bool      // it was ours at the last comparison
	Records int
	Skew    time.Duration // by which its clock is ahead of ours
	Version string        // of its program
	Reason  string        // what is wrong with it, or with the way to it
}

// Status is how the other configured heads are, by name. It asks nobody.
func (r *Replica) Status() []PeerStatus {
	now := time.Now()
	held := r.conf.Clock.Held()
	var list []PeerStatus
	for _, p := range r.all() {
		r.mu.Lock()
		s := PeerStatus{
			Name: p.Name, Alive: p.alive(now, r.conf.Timing), Seen: p.seen, Version: p.digest.Version,
			Equal: p.equal && p.alive(now, r.conf.Timing), Records: p.digest.Records,
		}
		if p.digest.Root != (state.Hash{}) {
			s.Root = p.digest.Root.String()
		}
		if best, ok := p.clock.best(); ok {
			s.Skew = best.offset
		}
		var reasons []error
		switch {
		case p.reason != nil:
			reasons = append(reasons, p.reason)
		case p.down != nil:
			reasons = append(reasons, fmt.Errorf("no answer since %s: %s", clockTime(p.downSince), cut(p.down)))
		case p.pushErr != nil:
			reasons = append(reasons, fmt.Errorf("takes no records since %s: %s", clockTime(p.pushSince), cut(p.pushErr)))
		case !s.Alive:
			reasons = append(reasons, errors.New(p.describe(now, r.conf.Timing)))
		case s.Root != "" && !p.digest.Complete:
			reasons = append(reasons, errors.New("its state is being rebuilt"))
		}
		if s.Skew.Abs() > state.MaxSkew {
			reasons = append(reasons, fmt.Errorf("its clock is %v off ours: neither takes the later one's records", s.Skew.Round(time.Second)))
		}
		if held > 0 {
			reasons = append(reasons, fmt.Errorf("this head's clock was set forward by %v, which is not used before another head agrees", held.Round(time.Second)))
		}
		r.mu.Unlock()
		s.Reason = oneLine(reasons)
		list = append(list, s)
	}
	return list
}

func oneLine(reasons []error) string {
	s := ""
	for _, err := range reasons {
		if s != "" {
			s += "; "
		}
		s += err.Error()
	}
	return s
}

// HeadHash is what a head answers when asked for its root.
type HeadHash struct {
	Head    string
	Self    bool
	Root    state.Hash
	Records int
	Newest  time.Time // of the last write that it has
	Err     error     // it did not answer
}

const (
	verifyTries = 5
	verifyWait  = 300 * time.Millisecond // longer than a push takes
)

// Verify asks all configured heads for their roots, by name, this one first. While they differ it asks a few times
// more, for about a second and a half: writes may be under way. equal is true if all answered and have the same.
func (r *Replica) Verify(ctx context.Context) (heads []HeadHash, equal bool, err error) {
	for try := range verifyTries {
		if try > 0 {
			select {
			case <-ctx.Done():
				return nil, false, ctx.Err()
			case <-time.After(verifyWait):
			}
		}
		heads = r.askRoots(ctx)
		differ, silent := false, false
		for _, h := range heads {
			differ = differ || h.Err == nil && h.Root != heads[0].Root
			silent = silent || h.Err != nil
		}
		if !differ {
			return heads, !silent, ctx.Err()
		}
	}
	return heads, false, ctx.Err()
}

func (r *Replica) askRoots(ctx context.Context) []HeadHash {
	peers := r.all()
	heads := make([]HeadHash, 1+len(peers))
	var wg sync.WaitGroup
	for i, p := range peers {
		wg.Go(func() {
			heads[i+1] = HeadHash{Head: p.Name}
			body, err := r.ask(ctx, p, callSummary, nil)
			var d Digest
			if err == nil {
				d, err = decodeDigest(body)
			}
			if err != nil {
				heads[i+1].Err = err
				return
			}
			r.take(p, d, nil, time.Now())
			heads[i+1] = hashOf(p.Name, d.Summary)
		})
	}
	wg.Wait()
	heads[0] = hashOf(r.conf.Name, r.db.Summary())
	heads[0].Self = true
	return heads
}

func hashOf(name string, s state.Summary) HeadHash {
	return HeadHash{Head: name, Root: s.Root, Records: s.Records, Newest: s.Newest.Time()}
}

// KeyDifference is a key that two heads have different versions of. A zero version: it has none.
type KeyDifference struct {
	Key          state.Key
	Ours, Theirs state.Version
}

// Diff lists what differs between this head and another one right now, by key. Nothing is changed.
func (r *Replica) Diff(ctx context.Context, head string) ([]KeyDifference, error) {
	p, err := r.peer(head)
	if err != nil {
		return nil, err
	}
	var list []KeyDifference
	_, err = r.exploreStamps(ctx, p, func(_ Digest, ours, theirs []state.Stamp) error {
		have := make(map[state.Key]state.Stamp, len(theirs))
		for _, s := range theirs {
			have[s.Key] = s
		}
		for _, o := range ours {
			t := have[o.Key]
			delete(have, o.Key)
			if o.Version != t.Version || !bytes.Equal(short(o.Hash), short(t.Hash)) {
				list = append(list, KeyDifference{o.Key, o.Version, t.Version})
			}
		}
		for k, t := range have {
			list = append(list, KeyDifference{Key: k, Theirs: t.Version})
		}
		return nil
	})
	slices.SortFunc(list, func(a, b KeyDifference) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	return list, err
}
