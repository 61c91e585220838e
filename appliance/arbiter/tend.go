package arbiter

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// tendEvery is how often is looked whether there is anything to do but renewing the lease.
const tendEvery = 10 * time.Millisecond

// tend does what raft does not by itself: claims, elections without delay, changes of heads.
func (r *Raft) tend(ctx context.Context, n *node) {
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-r.wake:
		}
		if n.raft.State() == raft.Leader {
			r.lead(n)
		} else {
			r.elect(n)
		}
		r.signal()
	}
}

// lead does the next thing that the leader has to.
func (r *Raft) lead(n *node) {
	term := n.raft.CurrentTerm()
	r.mu.Lock()
	ready, w, wish, grant := r.ready == term, r.want, r.wish, r.grant
	r.wish = ""
	r.mu.Unlock()
	o := r.machine.ownership()
	switch {
	case w.term && grant == 0:
		r.claim(n, w, term)
	case !ready:
		// What leaders before have committed is known when something of this term is (Raft's dissertation, 6.4).
		if n.raft.Barrier(r.config.promise()).Error() == nil {
			r.knows(n, term)
		}
	case w.epoch != 0 && w.epoch == o.Epoch && o.Owner == r.config.Self && (!w.solo.Equal(o.Solo) || w.data != o.DataUUID):
		_, _ = r.commit(n, command{Facts: &facts{Epoch: w.epoch, Solo: w.solo, DataUUID: w.data}}) // tried again
	case wish != "" && w.epoch == 0 && !w.term:
		r.handOver(n, wish)
	default:
		r.change(n, o)
	}
}

// knows is told that something of term was committed while this head led.
func (r *Raft) knows(n *node, term uint64) {
	if n.raft.CurrentTerm() != term {
		return
	}
	r.mu.Lock()
	r.ready = term
	r.mu.Unlock()
	r.poke()
}

func (r *Raft) claim(n *node, w want, term uint64) {
	self, _ := r.config.self()
	o, err := r.commit(n, command{Claim: &claim{Owner: self.Name, ID: self.ID, Above: w.above}})
	if err != nil {
		r.config.Log.Debug("claim", "error", err) // tried again while this head leads
		return
	}
	r.mu.Lock()
	if r.want.term {
		r.grant = o.Epoch
	}
	r.mu.Unlock()
	r.knows(n, term)
}

// commit has a command committed, and gives the ownership right after it.
func (r *Raft) commit(n *node, c command) (Ownership, error) {
	b, err := json.Marshal(c)
	if err != nil {
		return Ownership{}, fmt.Errorf("command: %w", err)
	}
	f := n.raft.Apply(b, r.config.promise())
	if err := f.Error(); err != nil {
		return Ownership{}, fmt.Errorf("command: %w", err)
	}
	switch v := f.Response().(type) {
	case Ownership:
		return v, nil
	case error:
		return Ownership{}, v
	default:
		return Ownership{}, fmt.Errorf("command: answer %T", v)
	}
}

// handOver makes another head the leader. What it has promised this one is taken back before: else it would not stand.
func (r *Raft) handOver(n *node, to string) {
	r.release(n)
	if !n.trans.released(n.raft.CurrentTerm(), raft.ServerID(to)) {
		_ = n.raft.VerifyLeader() // has all heads told
		r.mu.Lock()
		r.wish = to // soon again
		r.mu.Unlock()
		return
	}
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		if string(s.ID) == to && s.Suffrage == raft.Voter {
			r.config.Log.Debug("leadership is handed over", "to", to)
			_ = n.raft.LeadershipTransferToServer(s.ID, s.Address).Error() // it asks again
		}
	}
}

// hearWish is told that another head asks to lead. It reports whether it will.
func (r *Raft) hearWish(head string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.want.epoch != 0 || r.want.term {
		return false
	}
	r.wish = head
	r.poke()
	return true
}

// plead asks the leader to hand over for as long as it is needed, apart from tend: it may be off, and not answer.
func (r *Raft) plead(ctx context.Context, n *node) {
	tick := time.NewTicker(r.config.Timing.Renew / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-r.pleads:
		}
		r.askToLead(ctx, n)
	}
}

// askToLead asks the leader to hand over, where this head has to be it.
func (r *Raft) askToLead(ctx context.Context, n *node) {
	r.mu.Lock()
	w, grant := r.want, r.grant
	r.mu.Unlock()
	o := r.machine.ownership()
	mine := w.epoch != 0 && o.Epoch == w.epoch && o.Owner == r.config.Self
	if !mine && !(w.term && grant == 0) {
		return
	}
	addr, id := n.raft.LeaderWithID()
	if addr == "" || string(id) == r.config.Self {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, r.config.promise())
	defer cancel()
	if _, err := n.trans.stream.tell(ctx, string(addr), r.config.Self); err != nil {
		r.config.Log.Debug("ask the leader to hand over", "leader", id, "error", err)
	}
}
