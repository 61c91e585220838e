package gossip

import (
	"context"
	"errors"
	"fmt"
	"time"

	"masthead/appliance/state"
)

// peer is what this head knows of another one. Replica.mu guards it, but for the channels. Instants are readings of the
// monotonic clock.
type peer struct {
	Name  string    // never changes
	since time.Time // it is configured
	stop  context.CancelFunc
	woken chan struct{} // one token: a walk or a look at its clock may be due
	again chan struct{} // one token: it answers again, a push may be tried

	seen     time.Time // last word from it
	gossiped time.Time // last digest by the membership protocol
	digest   Digest
	raw      []byte // the last digest by the membership protocol as it came
	reason   error  // why its digests mean nothing: another protocol

	differs time.Time // roots began to differ; zero: they are equal, or nothing is known
	equal   bool
	equalAt time.Time // roots were equal
	wholeAt time.Time // roots were equal and it was complete
	walked  time.Time // end of the last walk with it
	visited time.Time // it walked with us
	stuck   int       // walks that moved nothing, one after the other
	vain    vainWalk  // the last of them
	asleep  time.Time // until when who looks after it sleeps, unless woken

	clock  offsets
	probed time.Time
	urgent bool // our clock was set forward

	down      error // the last call failed
	downSince time.Time
	pushErr   error // the last push failed or was refused
	pushSince time.Time
	told      standing // as the last event said

	// It has all our commits from after from up to acked by pushes, and all up to proven by an equal root.
	from, acked, proven uint64
	refused             string // why it did not take what from excludes
}

// standing is what people were told of a head.
type standing int

const (
	unheard standing = iota
	there
	gone
)

func newPeer(name string) *peer {
	return &peer{Name: name, since: time.Now(), woken: make(chan struct{}, 1), again: make(chan struct{}, 1)}
}

// has tells whether the peer has our commit seq, durably.
func (p *peer) has(seq uint64) bool {
	return seq <= p.proven || (seq > p.from && seq <= p.acked)
}

// hopeless is why there is no use in waiting for its word on seq; nil: it may come.
func (p *peer) hopeless(seq uint64) error {
	switch {
	case p.reason != nil:
		return p.reason
	case p.down != nil:
		return fmt.Errorf("%s does not answer since %s (%s)", p.Name, clockTime(p.downSince), cut(p.down))
	case p.pushErr != nil:
		return fmt.Errorf("%s takes no records since %s (%s)", p.Name, clockTime(p.pushSince), cut(p.pushErr))
	case seq <= p.from && p.refused != "":
		return errors.New(p.refused)
	}
	return nil
}

// alive tells whether something was heard of it lately.
func (p *peer) alive(now time.Time, t Timing) bool {
	return !p.seen.IsZero() && now.Sub(p.seen) < t.Alive
}

func (p *peer) describe(now time.Time, t Timing) string {
	if p.alive(now, t) {
		return fmt.Sprintf("%s is there", p.Name)
	}
	if p.seen.IsZero() {
		return fmt.Sprintf("%s has not been heard of", p.Name)
	}
	return fmt.Sprintf("%s is silent since %s", p.Name, clockTime(p.seen))
}

// probeEvery is how often its clock is looked at. Where digests do not come, this looks for the head, too.
func (p *peer) probeEvery(now time.Time, t Timing) time.Duration {
	switch {
	case p.down != nil && p.seen.After(p.probed): // it came back
		return t.DigestMin
	case now.Sub(p.gossiped) > 2*t.Digest+t.Digest/2, len(p.clock) < 2, p.urgent:
		return t.ProbeDark
	}
	return t.Probe
}

// vainWalk is a walk that moved nothing since one of both refuses what differs for its clock. Another one moves nothing
// either while both have what they had and our clock does not come to what we refused; of what they refused they know
// themselves when its time has come.
type vainWalk struct {
	is           bool
	ours, theirs state.Hash
	ripe         time.Time // of our clock, from which we take some of it; zero: we refused nothing
}

// holds reports whether it still is in vain.
func (v vainWalk) holds(ours, theirs state.Hash, wall time.Time) bool {
	return v.is && v.ours == ours && v.theirs == theirs && (v.ripe.IsZero() || wall.Before(v.ripe))
}

// due says what is due for the peer, and when the next thing is. wall is the clock of versions.
func (p *peer) due(now, wall time.Time, ours state.Summary, own string, t Timing) (probe, walk bool, next time.Time) {
	next = p.probed.Add(p.probeEvery(now, t))
	probe = !next.After(now)
	if p.reason != nil || p.differs.IsZero() {
		return probe, false, next
	}
	at := p.walkDue(p.vain.holds(ours.Root, p.digest.Root, wall), own, t)
	if at.Before(next) {
		next = at
	}
	return probe, !at.After(now), next
}

// walkDue gives when a walk with a head that differs is due. Of two such heads, the first by name begins.
func (p *peer) walkDue(vain bool, own string, t Timing) time.Time {
	settle := t.Settle
	if own > p.Name {
		settle *= 3
	}
	due := p.differs.Add(settle)
	wait := t.Walk
	switch {
	case vain:
		wait = t.WalkVain
	case p.stuck > 1:
		wait = min(t.WalkMax, t.Walk*time.Duration(p.stuck))
	}
	if !p.walked.IsZero() && p.walked.Add(wait).After(due) {
		due = p.walked.Add(wait)
	}
	// While it walks with us, another walk would move the same again; between two walks of its there is room for ours.
	if busy := p.visited.Add(2 * t.Settle); !p.visited.IsZero() && busy.After(due) {
		due = busy
	}
	return due
}

// compareRoots notes whether its root is ours. It reports whether that is news.
func (p *peer) compareRoots(ours state.Summary, now time.Time) (news bool) {
	if p.digest.Root == ours.Root {
		news = !p.equal || p.proven < ours.Seq
		p.equal, p.equalAt, p.differs, p.stuck = true, now, time.Time{}, 0
		p.proven = max(p.proven, ours.Seq)
		if p.digest.Complete {
			p.wholeAt = now
		}
		return news
	}
	news = p.differs.IsZero()
	p.equal = false
	if news {
		p.differs = now
	}
	return news
}

// rebuilt tells whether our state, which was incomplete, has all that a complete one has: it is the same.
func (p *peer) rebuilt(ours state.Summary) bool {
	return !ours.Complete && p.equal && p.digest.Complete && p.digest.Root == ours.Root
}

func (p *peer) kick() {
	select {
	case p.woken <- struct{}{}:
	default:
	}
}

// clockTime is how people read an instant of today.
func clockTime(t time.Time) string { return t.UTC().Format("15:04:05") + " UTC" }

// cut is an error in few words.
func cut(err error) string {
	s := err.Error()
	if errors.Is(err, context.DeadlineExceeded) {
		s = "no answer in time"
	}
	return s[:min(len(s), maxDetail)]
}
