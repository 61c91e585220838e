package heartbeat

import (
	"time"

	"masthead/appliance/failover"
)

// peer is another head: what it says, and whether it says it now. Pure; the caller has the lock.
//
// A frame with the right key may still be a recording. Within one run of the peer's daemon a frame counts only if its
// sequence number is above all that came on the same link. Against recordings of an earlier run each frame has an echo,
// the tag of the newest frame of ours that its sender has accepted: nobody can know the tags of our frames before we send
// them, so an echo proves that the frame is younger than ours. Wall clocks cannot prove that, because they are set back.
// A run replaces another one
//   - if it echoes a frame of ours that is younger than all that were echoed before, which no recording can; or
//   - if its daemon started later by the peer's clock, so that a peer that hears nothing of us is still heard.
//
// What remains: with the second rule, and when this daemon has heard nothing yet, somebody who has recorded a run with a
// later start can make the peer seem alive until its next true frame with an echo, within a round trip. That only delays
// a takeover, as cutting the cables does; what gives this head a right (that the peer released, yields or leaves) is
// believed only of a run that has echoed what is younger than the last run's echoes.
type peer struct {
	id     int
	run    run // zero: none yet
	said   failover.Said
	rev    uint16
	proven bool             // the run has shown that it is no recording
	proof  failover.Instant // when we sent the youngest frame whose echo proves nothing any more
	floor  failover.Instant // proof when this run began: only a younger echo proves it
	hears  uint16           // by the peer's numbers of the links
	took   failover.Instant // when said was last taken from a frame
	seq    [maxLinks]uint32 // highest on each of the peer's links; 0: none
	newest uint32           // tag of the last accepted frame: what we echo
	sent   recent
}

// run is one run of a peer's daemon.
type run struct{ boot, start uint64 }

// echoAge is how long an echo proves something: several round trips of a slow cable.
const echoAge = 2 * time.Second

// revisionAge is how long a revision says which of two frames is newer: longer than any link delays one, and shorter than
// it takes a head to change its mind 32,768 times.
const revisionAge = 10 * time.Second

// verdict is what became of a frame.
type verdict struct {
	stale   bool   // a duplicate, out of order, or a recording: it counts for nothing
	fresh   bool   // the first of its run on this link: nothing can be said of earlier ones
	missed  uint32 // frames of this link that did not come before it
	changed bool   // Said gives something else than before
}

// accept judges a frame that is authentic and from this peer.
func (p *peer) accept(f frame, tag uint32, now failover.Instant) verdict {
	before := p.believed()
	sentAt, echoes := p.sent.when(f.Echo, now)
	r := run{f.Said.BootID, f.Start}
	switch {
	case r == p.run:
	case p.run == run{},
		echoes && sentAt > p.proof,
		r.start > p.run.start:
		p.run, p.proven, p.floor, p.seq, p.said = r, false, p.proof, [maxLinks]uint32{}, failover.Said{}
	default:
		return verdict{stale: true}
	}
	last := p.seq[f.Link]
	if last != 0 && int32(f.Seq-last) <= 0 { // it wraps around after years
		return verdict{stale: true}
	}
	first := p.said == failover.Said{}
	p.seq[f.Link] = f.Seq
	if echoes {
		p.proven = p.proven || sentAt > p.floor
		p.proof = max(p.proof, sentAt)
	}
	p.newest = tag
	// A frame may have waited for a slow cable longer than a newer one needed on a fast card. The revision has two bytes:
	// after a long silence it may have gone round.
	if first || int16(f.Revision-p.rev) >= 0 || now-p.took > revisionAge {
		p.said, p.rev, p.hears, p.took = f.Said, f.Revision, f.Hears, now
	}
	v := verdict{fresh: last == 0, changed: p.believed() != before}
	if !v.fresh {
		v.missed = f.Seq - last - 1
	}
	return v
}

// doubt is for when this process has not run for a while. What waited for it in a socket or a line is in order, but each
// frame of it would be taken for the present, and the peer may have taken back long ago that it released. Echoes of what
// we send from now on show which frames are of the present.
func (p *peer) doubt(now failover.Instant) {
	p.proven = false
	p.proof, p.floor = now, now
}

// believed is what the peer says, without what gives us a right as long as it could be a recording.
func (p *peer) believed() failover.Said {
	s := p.said
	if !p.proven {
		s.Released, s.Yields, s.Leaving = 0, 0, false
	}
	return s
}

// recent are the tags of the frames that were last sent to a peer.
type recent struct {
	ring [256]sentFrame // 2 s of five links, with changes out of turn
	next int
}

type sentFrame struct {
	tag uint32
	at  failover.Instant
}

func (r *recent) add(tag uint32, at failover.Instant) {
	r.ring[r.next] = sentFrame{tag, at}
	r.next = (r.next + 1) % len(r.ring)
}

// when is when the frame with that tag was sent, if that is not longer ago than echoAge.
func (r *recent) when(tag uint32, now failover.Instant) (at failover.Instant, ok bool) {
	if tag == 0 {
		return 0, false
	}
	for _, s := range r.ring {
		if s.tag == tag && now-s.at <= echoAge {
			return s.at, true
		}
	}
	return 0, false
}
