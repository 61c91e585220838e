package arbiter

import (
	"context"
	"time"

	"github.com/hashicorp/raft"

	"masthead/appliance/failover"
)

// refresh renews the lease each Timing.Renew.
func (r *Raft) refresh(ctx context.Context, n *node) {
	tick := time.NewTicker(r.config.Timing.Renew)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-r.renew:
		}
		r.extend(n)
		r.signal()
	}
}

// extend has the others promise anew that they vote for nobody else, and counts the lease from when they were asked.
//
// The lease ends before the promise of any of a majority does: it is counted from when the heartbeat was sent, and is
// shorter by two margins. It is granted for the epoch that is committed for this head, and no other can be committed while
// this head leads, which the promises are about. See guard.
func (r *Raft) extend(n *node) {
	term := n.raft.CurrentTerm()
	epoch := r.mayHold(n, term)
	if epoch == 0 {
		if r.release(n) { // the others are free of their promise now, not with the next heartbeat
			_ = n.raft.VerifyLeader()
		}
		return
	}
	n.trans.ask(true)
	looked, began := n.trans.look(), r.config.Now()
	// All heads are asked at once. It comes back when most have answered, or this head does not lead any more.
	if err := n.raft.VerifyLeader().Error(); err != nil || n.raft.CurrentTerm() != term {
		return
	}
	voters := n.voters()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.want.epoch != epoch || epoch <= r.gone {
		return
	}
	if sent := n.trans.sent(term, voters, looked, began); sent != never {
		r.epoch, r.until = epoch, max(r.until, sent+r.config.lease()-r.config.Timing.Margin)
	}
}

// release frees all heads of what they have promised this one, and reports whether that is new. That it may not renew a lease
// is no reason: it may have one that lasts, from before it stepped down or was elected anew, and rely on the promises.
func (r *Raft) release(n *node) (changed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if held, _ := r.held(r.config.Now()); held != 0 {
		return false
	}
	return n.trans.ask(false)
}

// mayHold is the epoch for which this head may have a lease, as the leader of term: the one that it wants, if that is the
// last that was committed; 0: none.
func (r *Raft) mayHold(n *node, term uint64) failover.Epoch {
	if n.raft.State() != raft.Leader {
		return 0
	}
	o := r.machine.ownership()
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.want.epoch
	if r.ready != term || e == 0 || e <= r.gone || o.Epoch != e || o.Owner != r.config.Self {
		return 0
	}
	return e
}

// voters are the heads that have a vote now.
func (n *node) voters() (out []raft.ServerID) {
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		if s.Suffrage == raft.Voter {
			out = append(out, s.ID)
		}
	}
	return out
}
