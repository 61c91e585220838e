package simulation

import (
	"time"

	"masthead/appliance/failover"
)

// consensus is raft as package arbiter uses it: the owner is the leader; its lease rests on promises of the others to vote
// for nobody else for a while, which they keep in memory only, so that one who starts takes no part for as long as a promise
// lasts. The messages of a round are one instant: what is lost, cut or delayed too much is not answered. Terms and the log
// are on the disks, and survive a daemon.
type consensus struct {
	node  [maxHeads]raftNode
	epoch failover.Epoch // of the last claim that was committed
	solo  time.Time      // since when an owner owns alone, as far as that was committed
	told  failover.Epoch // under which it said so
	owner int            // whose it was; -1: nobody's
}

type raftNode struct {
	term     uint64
	leader   bool
	lead     int           // whom it follows; -1: nobody
	contact  time.Duration // machine time of the leader's last heartbeat
	again    time.Duration // machine time of the next try to be elected
	promised time.Duration // machine time until which it votes for nobody but the one
	to       int           // whom it promised that
	abstains time.Duration // machine time
	most     time.Duration // machine time at which a majority answered it as the leader
	known    failover.Epoch
	solo     time.Time
	told     failover.Epoch
	owner    int

	// As Decide uses it.
	want, gone failover.Epoch
	wantTerm   bool
	grant      failover.Epoch
	held       failover.Epoch
	until      failover.Instant
	sent       failover.Instant // of the newest round with which it was renewed
}

// The times of package arbiter.
func lease(t *failover.Timing) time.Duration   { return t.TTL }
func promise(t *failover.Timing) time.Duration { return lease(t) + t.Margin }
func hurry(t *failover.Timing) time.Duration   { return lease(t) * 3 / 4 }

const (
	raftTick   = 15 * time.Millisecond
	electFirst = 40 * time.Millisecond
	electApart = 15 * time.Millisecond
)

func (c *consensus) start(w *World, i int) {
	t := &w.policy.Timing
	now := w.heads[i].machineTime(w.now)
	c.node[i] = raftNode{
		term: c.node[i].term, lead: -1, to: -1, known: c.node[i].known, owner: c.node[i].owner, contact: now, abstains: now + promise(t) + t.Margin,
		most: -time.Hour,
	}
}

// takes says whether a node takes part, as seen from another one that asks it something now.
func (w *World) takes(a, b int) bool {
	h := &w.heads[b]
	if !h.thinks() || h.machineTime(w.now) < w.raft.node[b].abstains {
		return false
	}
	return a == b || w.answers(a, b)
}

// raftTend is a node's look at its timers.
func (w *World) raftTend(i int) {
	h := &w.heads[i]
	w.in(raftTick, evRaft, i, h.loopGen)
	n := &w.raft.node[i]
	now := h.machineTime(w.now)
	t := &w.policy.Timing
	if now < n.abstains {
		return
	}
	if n.leader {
		if now-n.most > hurry(t) {
			n.leader, n.lead = false, -1
			w.law.unlucky = w.law.unlucky || i == 0 && w.lossy()
		}
		return
	}
	delay := time.Duration(i) * electApart
	needs := n.wants(&w.raft, i)
	if n.wantTerm || n.want != 0 {
		delay += electFirst
	}
	switch {
	case w.free(i, i) && now-n.contact >= promise(t)+delay && now >= n.again:
		n.lead, n.again = -1, now+promise(t)/2
		w.elect(i, false)
	case needs && n.lead >= 0 && n.lead != i && w.takes(i, n.lead):
		w.handOver(n.lead, i)
	}
}

// wants says whether a node has to lead.
func (n *raftNode) wants(c *consensus, i int) bool {
	return n.wantTerm && n.grant == 0 || n.want != 0 && c.epoch == n.want && c.owner == i
}

// free says whether a node may vote for a candidate.
func (w *World) free(i, candidate int) bool {
	n := &w.raft.node[i]
	return w.heads[i].machineTime(w.now) >= n.promised || n.to == candidate
}

// elect stands for election: first without consequence (pre-vote), so that a node that stood still topples nobody.
func (w *World) elect(i int, transfer bool) {
	if !w.free(i, i) {
		return
	}
	n := &w.raft.node[i]
	if w.votes(i, n.term+1, false, transfer) <= w.sc.Heads/2 {
		return
	}
	n.term++
	if w.votes(i, n.term, true, transfer) <= w.sc.Heads/2 {
		return
	}
	for j := range w.sc.Heads {
		if o := &w.raft.node[j]; o.leader && o.term < n.term && j != i && w.takes(i, j) {
			o.leader, o.lead = false, -1
		}
	}
	n.leader, n.lead, n.most = true, i, w.heads[i].machineTime(w.now)
	w.raftRound(i)
}

func (w *World) votes(i int, term uint64, binding, transfer bool) int {
	n := &w.raft.node[i]
	votes := 1
	for j := range w.sc.Heads {
		if j == i || !w.takes(i, j) {
			continue
		}
		o := &w.raft.node[j]
		now := w.heads[j].machineTime(w.now)
		busy := !transfer && (o.leader || o.lead >= 0 && now-o.contact < hurry(&w.policy.Timing))
		if o.term >= term || busy || !w.free(j, i) {
			n.term = max(n.term, min(o.term, term))
			continue
		}
		if binding {
			o.term, o.lead, o.leader, o.contact = term, -1, false, now
		}
		votes++
	}
	return votes
}

// handOver is a leader that need not be it, asked by another one that has to.
func (w *World) handOver(l, to int) {
	n := &w.raft.node[l]
	if !n.leader || n.want != 0 || n.wantTerm {
		return
	}
	for j := range w.sc.Heads {
		o := &w.raft.node[j]
		if o.to == l && w.takes(l, j) {
			o.promised = min(o.promised, w.heads[j].machineTime(w.now))
		}
	}
	n.leader = false
	w.elect(to, true)
}

// raftRound is a heartbeat of the leader to all, with which it asks for their promises if it may have a lease.
func (w *World) raftRound(i int) bool {
	c := &w.raft
	n := &c.node[i]
	t := &w.policy.Timing
	holds := n.want != 0 && n.want > n.gone && c.epoch == n.want && c.owner == i
	answered := 0
	for j := range w.sc.Heads {
		if !w.takes(i, j) {
			continue
		}
		o := &c.node[j]
		if o.term > n.term {
			n.leader, n.lead, n.term = false, -1, o.term
			return false
		}
		now := w.heads[j].machineTime(w.now)
		if j != i {
			o.term, o.leader, o.lead, o.contact = n.term, false, i, now
			o.known, o.owner, o.solo, o.told = c.epoch, c.owner, c.solo, c.told
		}
		if holds {
			if !w.free(j, i) {
				continue // it has promised another one, who can not be verified any more
			}
			o.to, o.promised = i, now+promise(t)
		}
		answered++
	}
	if answered <= w.sc.Heads/2 {
		return false
	}
	if solo := w.heads[i].disk.record.SoloSince; holds && !c.solo.Equal(solo) {
		c.solo, c.told = solo, n.want
	}
	n.most, n.known, n.owner, n.solo, n.told = w.heads[i].machineTime(w.now), c.epoch, c.owner, c.solo, c.told
	if holds {
		n.held, n.until, n.sent = n.want, w.instant(i)+lease(t)-t.Margin, w.instant(i)
	}
	return true
}

// raftRenew is the leader's timer: to renew its lease, and to commit a claim.
func (w *World) raftRenew(i int) {
	c := &w.raft
	n := &c.node[i]
	if !n.leader || !w.raftRound(i) {
		return
	}
	if n.wantTerm && n.grant == 0 {
		c.epoch = max(c.epoch, w.heads[i].disk.record.Epoch).Next(i)
		c.owner = i
		n.grant = c.epoch
		w.raftRound(i)
		w.in(0, evPoke, i, w.heads[i].loopGen)
	}
}

// raftWant is what Decide wants of it.
func (w *World) raftWant(i int, d *failover.Decision) {
	n := &w.raft.node[i]
	changed := n.want != d.Want
	if changed {
		n.gone = max(n.gone, n.want)
		n.held, n.until = 0, 0
		if n.leader && d.Want == 0 { // the promises are not needed any more
			for j := range w.sc.Heads {
				if o := &w.raft.node[j]; o.to == i && w.takes(i, j) {
					o.promised = min(o.promised, w.heads[j].machineTime(w.now))
				}
			}
		}
	}
	if d.WantTerm && !n.wantTerm {
		n.grant = 0
		changed = true
	}
	n.want, n.wantTerm = d.Want, d.WantTerm
	if changed && n.leader {
		held := n.held
		w.raftRenew(i)
		if n.held != held {
			w.in(0, evPoke, i, w.heads[i].loopGen)
		}
	}
}

// soloKnown is when the newest round was sent that renewed the lease, if it is committed since when the owner owns alone: see
// arbiter.Raft.SoloKnown.
func (c *consensus) soloKnown(w *World, i int) failover.Instant {
	n, solo := &c.node[i], w.heads[i].disk.record.SoloSince
	if solo.IsZero() || n.held == 0 || n.held != n.want || c.epoch != n.want || c.owner != i || !c.solo.Equal(solo) {
		return 0
	}
	return n.sent
}

func (w *World) raftSays(i int, a *failover.Authority, now failover.Instant) {
	n := &w.raft.node[i]
	t := &w.policy.Timing
	if n.held != 0 && n.until > now {
		a.Held, a.Until = n.held, n.until
	}
	a.Grant, a.Known = n.grant, n.known
	clock := w.heads[i].machineTime(w.now)
	if clock < n.abstains {
		a.Refused = "has just started and abstains"
		return
	}
	a.Quorum = failover.Down
	if n.leader && clock-n.most < promise(t) || !n.leader && n.lead >= 0 && clock-n.contact < promise(t) {
		a.Quorum, a.Vouches, a.Owned, a.Solo = failover.Up, true, n.told, n.solo
	}
	if clock < n.promised && n.to >= 0 && n.to == n.owner {
		a.Owner = headNames[n.to]
	}
	if a.Held == 0 && (n.want != 0 || n.wantTerm) {
		a.Refused = "waits for most of the heads"
	}
}
