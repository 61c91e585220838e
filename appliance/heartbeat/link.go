package heartbeat

import (
	"fmt"
	"time"

	"masthead/appliance/failover"
)

// LinkState is one way to one peer, and what became of the heartbeats on it. Missed counts gaps in the sequence; Late,
// arrivals more than two intervals after they were due; Stale, duplicates, late overtaken ones and recordings; Forged,
// frames without this cluster's key or of another head than is configured; Garbled, bytes that are no frame.
type LinkState struct {
	failover.Link
	Peer                                             int
	Sent, Good, Missed, Late, Stale, Forged, Garbled uint64
	// Trouble says why the link cannot be used on this side, or who is heard in place of the peer; empty: nothing is known.
	Trouble string
}

// link is one way to one peer. Pure; the caller has the lock.
type link struct {
	peer     *peer
	number   int // among the links to this peer
	far      int // the peer's number of it; our own until a frame has said it
	interval time.Duration
	seq      uint32 // of the last frame sent
	state    LinkState
	// transmit sends one frame and never blocks; nil: the link is not open. logged is the trouble that the log has told.
	transmit func([]byte) error
	logged   string
	// wrong says which other head was heard last on this link, in place of the peer.
	wrong string
}

// hearsAfter is how many intervals after its last good frame a link still counts as one on which the peer is heard, for
// the view that we send. It equals the silence after which an owner is suspected, on a network card.
const hearsAfter = 5

func newLink(p *peer, kind failover.LinkKind, name string, number int, interval time.Duration) *link {
	return &link{peer: p, number: number, far: number, interval: interval,
		state: LinkState{Link: failover.Link{Name: name, Kind: kind, Heard: -1}, Peer: p.id}}
}

// receive judges what came in on the link. self is our own id.
func (l *link) receive(s seal, self int, b []byte, now failover.Instant) (changed bool) {
	f, tag, err := s.decode(b)
	switch {
	case err == errGarbled:
		l.state.Garbled++
		return false
	case err != nil:
		l.state.Forged++
		return false
	case f.From != l.peer.id || f.To != self || f.Said.BootID == 0:
		l.state.Forged++
		l.wrong = fmt.Sprintf("heard head %d speaking to head %d", f.From, f.To)
		return false
	}
	v := l.peer.accept(f, tag, now)
	if v.stale {
		l.state.Stale++
		return false
	}
	if !v.fresh {
		l.state.Missed += uint64(v.missed)
		due := l.state.Heard + time.Duration(v.missed+1)*l.interval
		if l.state.Heard >= 0 && now > due+2*l.interval {
			l.state.Late++
		}
	}
	l.state.Good++
	l.state.Heard = now
	l.wrong = ""
	l.far = f.Link
	return v.changed
}

// hears reports whether the peer is heard on the link.
func (l *link) hears(now failover.Instant) bool {
	return l.state.Heard >= 0 && now-l.state.Heard <= hearsAfter*l.interval
}

// view is the state as others may see it.
func (l *link) view() LinkState {
	s := l.state
	if s.Trouble == "" {
		s.Trouble = l.wrong
	}
	switch {
	case l.peer.run == run{}:
		s.HeardUs = failover.Unknown
	case l.peer.hears&(1<<l.far) != 0:
		s.HeardUs = failover.Up
	default:
		s.HeardUs = failover.Down
	}
	return s
}
