package arbiter

import (
	"time"

	"masthead/appliance/failover"
)

// guard is what one head has promised: to vote for nobody else while the leader that it last heard from may rely on it.
//
// Raft itself promises less than a lease needs (raft v1.8.0):
//   - VerifyLeader counts any answer that comes in after the call, also one to a heartbeat that was sent, and received, long
//     before (replication.go, heartbeat: notifyAll).
//   - Heartbeats are answered by another goroutine than votes (net_transport.go, handleCommand; raft.go, processHeartbeat),
//     so a follower may decide that the leader is gone, or vote for another, while it tells the leader that all is well.
//   - A follower that restarts knows no leader, and votes for whoever asks.
//   - A leadership transfer makes everybody vote although there is a leader, and TimeoutNow may come late.
//
// So a leader that wants a lease says so in its heartbeats, each with a number, and a follower answers with a promise. The
// guard stands between raft and the network, and every vote passes it: no vote within a promise, and no promise where a vote
// passed while raft looked at the heartbeat. A promise lives in memory: after a start a head takes no part for as long as
// one lasts.
//
// Why that is enough: a lease ends before the promises of a majority do. Another leader needs a vote of one that promised.
// If that vote passed the guard after the promise, the promise was over, and so is the lease. If raft was done with it
// before it looked at the heartbeat, it knew the higher term and refused the heartbeat. And if it passed, or was still with
// raft, in between, there is no promise. Changes of the voters are one head at a time, so that majorities before and after
// have a head in common.
type guard struct {
	length time.Duration // of a promise
	leader string        // to whom
	term   uint64        // of the heartbeat that it answered
	seq    uint64        // its number
	until  failover.Instant
	votes  uint64 // that passed
	voting int    // that raft has not answered yet
}

// mark is what a leader adds to a heartbeat.
type mark struct {
	seq   uint64 // grows within a term
	lease bool   // a promise is asked for; false: earlier ones of this leader are not needed any more
}

// look is called before raft looks at a heartbeat; what it returns is for the end of that.
func (g *guard) look() looked { return looked{g.votes, g.voting} }

type looked struct {
	votes  uint64
	voting int
}

// alone reports whether no vote was with raft since l.
func (g *guard) alone(l looked) bool { return l.voting == 0 && l.votes == g.votes }

// heartbeat is called when raft has accepted one of that leader, and before that is answered. It reports whether a promise
// was made.
func (g *guard) heartbeat(leader string, term uint64, m mark, l looked, now failover.Instant) bool {
	if term < g.term || term == g.term && m.seq <= g.seq {
		return false // overtaken by a later one
	}
	if !g.alone(l) {
		return false
	}
	if !m.lease {
		if g.leader == leader {
			g.term, g.seq, g.until = term, m.seq, min(g.until, now)
		}
		return false
	}
	g.leader, g.term, g.seq, g.until = leader, term, m.seq, now+g.length
	return true
}

// own is this head's promise to itself, when raft was the leader of that term at a moment after l: a leader that has a lease
// does not vote for another before its end, even if it steps down. It reports whether the promise was made.
func (g *guard) own(self string, term uint64, l looked, now failover.Instant) bool {
	if term < g.term || !g.alone(l) {
		return false
	}
	if term > g.term {
		g.seq = 0
	}
	g.leader, g.term, g.until = self, term, now+g.length
	return true
}

// give takes the promise to itself back.
func (g *guard) give(self string, now failover.Instant) {
	if g.leader == self {
		g.until = min(g.until, now)
	}
}

// free reports whether this head may vote for candidate, which may be itself.
func (g *guard) free(candidate string, now failover.Instant) bool {
	return now >= g.until || g.leader == candidate
}

// candidate lets this head's own candidacy pass, or not. Raft has voted for itself, and has the new term, before it asks others.
func (g *guard) candidate(self string, now failover.Instant) bool {
	if !g.free(self, now) {
		return false
	}
	g.votes++
	return true
}

// vote lets a vote for candidate pass to raft, or not. If so, voted is to be called when raft has answered.
func (g *guard) vote(candidate string, now failover.Instant) bool {
	if !g.free(candidate, now) {
		return false
	}
	g.votes++
	g.voting++
	return true
}

func (g *guard) voted() { g.voting-- }
