package simulation

import (
	"slices"
	"time"

	"masthead/appliance/failover"
	"masthead/node/witness"
)

// voting is a machine that votes: a worker, or a head's own voter, which lives in its daemon.
type voting struct {
	voter witness.Voter
	boot  uint64
	down  int // faults
}

const maxVoters = 2 + maxWitnesses

// panel is how a head asks the voters: those of both heads, and the witnesses, whose majority is the third vote.
type panel struct {
	boot  uint64 // of this head's own voter
	own   voting
	want  failover.Epoch
	gone  failover.Epoch // given back: never wanted again
	facts witness.Facts
	votes [maxVoters]vote
	grant failover.Instant // end of the lease that two of three votes have granted
	until failover.Instant // end of the lease for which they also know what the owner is
}

// vote is what one voter has said.
type vote struct {
	boot    uint64           // of the voter, to be sent back to it
	granted failover.Instant // its vote for want counts until then
	renewed failover.Instant // and that of a renewal, with which it learnt what the owner is
	solo    failover.Instant // when the newest was sent of those that told it of facts.Solo; 0: none
	heard   failover.Instant // when it answered last; 0: never
	sound   bool             // it did not abstain
	last    witness.Answer
}

// letter is an answer under way.
type letter struct {
	answer witness.Answer
	sent   failover.Instant // by the head's clock, of the ask
	solo   time.Time        // what the voter was told with it
	epoch  failover.Epoch
	kind   witness.Kind
}

const cluster = 7

func (w *World) newVoter(boot uint64, now time.Duration) voting {
	t := w.policy.Timing
	return voting{
		voter: *witness.NewVoter(witness.VoterConfig{Cluster: cluster, Boot: boot, Longest: t.TTL, Margin: t.Margin}, now), boot: boot,
	}
}

// startAuthority starts what a daemon has of its arbiter.
func (w *World) startAuthority(i int) {
	h := &w.heads[i]
	switch w.sc.Kind {
	case failover.Panel:
		h.panel = panel{boot: w.rnd.next() | 1}
		h.panel.own = w.newVoter(h.panel.boot, h.machineTime(w.now))
	case failover.Raft:
		w.raft.start(w, i)
	}
}

// want is the epoch whose lease is to be held; what is not wanted any more is given back.
func (w *World) want(i int, d *failover.Decision) {
	h := &w.heads[i]
	switch w.sc.Kind {
	case failover.Raft:
		w.raftWant(i, d)
	case failover.Panel:
		p := &h.panel
		news := !p.facts.Solo.Equal(d.Record.SoloSince)
		for k := range p.votes {
			if news {
				p.votes[k].solo = 0
			}
		}
		p.facts = witness.Facts{Gen: d.Record.ClusterGen, Solo: d.Record.SoloSince}
		if p.want == d.Want {
			if news && p.wants() {
				w.askAgain(i)
			}
			return
		}
		old := p.want
		p.gone = max(p.gone, old)
		p.want, p.grant, p.until = d.Want, 0, 0
		for k := range p.votes {
			p.votes[k].granted, p.votes[k].renewed, p.votes[k].solo = 0, 0, 0
		}
		if old != 0 {
			w.ask(i, witness.Release, old)
		}
		if p.wants() {
			w.ask(i, witness.Claim, p.want)
		}
	}
}

func (p *panel) wants() bool { return p.want > p.gone }

// renew is the timer of the asking.
func (w *World) renew(i int) {
	h := &w.heads[i]
	every := w.policy.Timing.Renew
	p := &h.panel
	if w.sc.Kind == failover.Panel {
		switch {
		case !p.wants():
			every *= 2
		case p.until <= w.instant(i):
			every /= 4
		}
	}
	w.in(every+time.Duration(w.rnd.next()&(1<<18-1)), evRenew, i, h.loopGen)
	if w.sc.Kind == failover.Raft {
		w.raftRenew(i)
		return
	}
	w.askAgain(i)
}

// askAgain asks for what is wanted. A head says that it owns only once a lease is granted.
func (w *World) askAgain(i int) {
	p := &w.heads[i].panel
	switch {
	case !p.wants():
		w.ask(i, witness.Query, 0)
	case p.grant > w.instant(i):
		w.ask(i, witness.Renew, p.want)
	default:
		w.ask(i, witness.Claim, p.want)
	}
}

// ask asks all voters. The ask is with them at once; its answer takes the time of both ways.
func (w *World) ask(i int, kind witness.Kind, epoch failover.Epoch) {
	h := &w.heads[i]
	now := w.instant(i)
	for k := range 2 + w.sc.Witnesses {
		v := &h.panel.votes[k]
		a := witness.Ask{
			Cluster: cluster, Kind: kind, Holder: uint8(i), Epoch: uint64(epoch), TTL: w.policy.Timing.TTL, Voter: v.boot, Facts: h.panel.facts,
		}
		if k == 0 { // its own, within the process
			out := h.panel.own.voter.Answer(a, h.machineTime(w.now))
			w.count(i, 0, &letter{answer: out, sent: now, solo: h.panel.facts.Solo, epoch: epoch, kind: kind})
			continue
		}
		node, box, clock := w.voterAt(i, k)
		there, ok := w.pass(&w.net.lan[i][node], 100*time.Microsecond)
		if !ok || box == nil || !w.room() {
			continue
		}
		out := box.voter.Answer(a, clock)
		back, ok := w.pass(&w.net.lan[node][i], 100*time.Microsecond)
		if !ok {
			continue
		}
		w.lettered = (w.lettered + 1) % len(w.letters)
		w.letters[w.lettered] = letter{answer: out, sent: now, solo: h.panel.facts.Solo, epoch: epoch, kind: kind}
		w.post(event{at: w.now + there + back, kind: evAnswer, head: uint8(i), from: uint8(k), gen: h.daemonGen, x: int64(w.lettered)})
	}
}

// voterAt is the k-th voter of head i: its node, and itself if it is there, with its clock.
func (w *World) voterAt(i, k int) (node int, v *voting, clock time.Duration) {
	if k == 1 {
		o := &w.heads[1-i]
		if !o.thinks() {
			return 1 - i, nil, 0
		}
		return 1 - i, &o.panel.own, o.machineTime(w.now)
	}
	v = &w.wits[k-2]
	if v.down > 0 {
		v = nil
	}
	return maxHeads + k - 2, v, w.now
}

func (w *World) answer(e *event) {
	i := int(e.head)
	h := &w.heads[i]
	if h.daemonGen != e.gen || !h.thinks() {
		return
	}
	now := w.instant(i)
	granted, held := h.panel.grant > now, h.panel.until > now
	w.count(i, int(e.from), &w.letters[e.x])
	if !granted && h.panel.grant > now {
		w.askAgain(i) // the voters are to know what the owner is before it acts
	}
	if held != (h.panel.until > now) {
		w.step(i)
	}
}

// count takes an answer into account.
func (w *World) count(i, k int, l *letter) {
	p := &w.heads[i].panel
	v := &p.votes[k]
	v.boot = l.answer.Boot
	v.heard, v.last, v.sound = w.instant(i)+1, l.answer, l.answer.Reason != witness.Abstains
	if l.epoch == 0 || l.epoch != p.want || !l.answer.Granted || l.kind == witness.Release {
		return
	}
	t := w.policy.Timing
	until := l.sent + t.TTL - t.Margin
	v.granted = max(v.granted, until)
	if l.kind == witness.Renew {
		v.renewed = max(v.renewed, until)
		if l.solo.Equal(p.facts.Solo) {
			v.solo = max(v.solo, l.sent)
		}
	}
	p.tally(w)
}

// tally counts the ends of the leases: two of the three votes count until then.
func (p *panel) tally(w *World) {
	var grants, renewals [3]failover.Instant
	need := w.sc.Witnesses/2 + 1
	for k := range 2 {
		grants[k], renewals[k] = p.votes[k].granted, p.votes[k].renewed
	}
	for k := range w.sc.Witnesses {
		g, r := 0, 0
		v := &p.votes[2+k]
		for m := range w.sc.Witnesses {
			if p.votes[2+m].granted >= v.granted {
				g++
			}
			if p.votes[2+m].renewed >= v.renewed {
				r++
			}
		}
		if g >= need {
			grants[2] = max(grants[2], v.granted)
		}
		if r >= need {
			renewals[2] = max(renewals[2], v.renewed)
		}
	}
	p.grant, p.until = 0, 0
	for _, pair := range [...][2]int{{0, 1}, {0, 2}, {1, 2}} {
		a, b := pair[0], pair[1]
		p.grant = max(p.grant, min(grants[a], grants[b]))
		p.until = max(p.until, min(renewals[a], renewals[b]))
	}
}

// present are the boots of the witnesses that answer: see arbiter.Lease.Boots.
func (p *panel) present(w *World, i int) (boots [maxWitnesses]uint64) {
	for k := range w.sc.Witnesses {
		if v := &p.votes[2+k]; v.heard != 0 && w.instant(i)-v.heard < 5*w.policy.Timing.Renew {
			boots[k] = v.boot
		}
	}
	return boots
}

// soloKnown is when the newest renewal was sent with which a quorum acknowledged since when the owner owns alone: see
// arbiter.Lease.SoloKnown.
func (p *panel) soloKnown(w *World, boots *[maxWitnesses]uint64) failover.Instant {
	if p.facts.Solo.IsZero() || !p.wants() {
		return 0
	}
	var all [maxWitnesses]failover.Instant
	for k := range w.sc.Witnesses {
		if v := &p.votes[2+k]; boots[k] != 0 && v.boot == boots[k] {
			all[k] = v.solo
		}
	}
	slices.Sort(all[:w.sc.Witnesses])
	return min(p.votes[0].solo, all[w.sc.Witnesses-w.sc.Witnesses/2-1])
}

func (p *panel) held() failover.Epoch {
	if p.until == 0 {
		return 0
	}
	return p.want
}
