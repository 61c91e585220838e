package arbiter

import (
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"masthead/appliance/failover"
)

// Authority is how the lease stands now.
func (r *Raft) Authority() failover.Authority {
	r.mu.Lock()
	now := r.config.Now() // not before: a lease that was extended meanwhile is of a later time
	n, w, gone := r.node, r.want, r.gone
	a := failover.Authority{Kind: failover.Raft, Grant: r.grant}
	a.Held, a.Until = r.held(now)
	r.mu.Unlock()
	o := r.machine.ownership() // after the grant: whoever is granted a term knows what was committed before
	a.Known = o.Epoch
	if n == nil {
		a.Refused = "has just started and abstains, or does not run"
		return a
	}
	a.Quorum = r.quorum(n, now)
	if a.Quorum == failover.Up {
		// A majority answers, and knows all that was ever committed.
		a.Vouches, a.Owned, a.Solo = true, o.Told, o.Solo
	}
	if leader, until := n.trans.promisedUntil(); now < until && leader == o.Owner {
		a.Owner = leader
	}
	if a.Held == 0 {
		a.Refused = r.refused(n, o, w, gone)
	}
	return a
}

// held is the lease that this head has at now; 0: none. r.mu is locked.
func (r *Raft) held(now failover.Instant) (failover.Epoch, failover.Instant) {
	if r.epoch == 0 || r.until <= now {
		return 0, 0
	}
	return r.epoch, r.until
}

// quorum reports whether a majority of heads hear one another and this one.
func (r *Raft) quorum(n *node, now failover.Instant) failover.Reading {
	up := false
	if n.raft.State() == raft.Leader {
		up = now-n.trans.contacted(n.raft.CurrentTerm(), n.voters()) < r.config.promise()
	} else if addr, _ := n.raft.LeaderWithID(); addr != "" {
		up = time.Since(n.raft.LastContact()) < r.config.promise()
	}
	if up {
		return failover.Up
	}
	return failover.Down
}

func (r *Raft) refused(n *node, o Ownership, w want, gone failover.Epoch) string {
	leader, _ := n.raft.LeaderWithID()
	name, _ := r.headAt(string(leader))
	switch {
	case w.epoch == 0 && !w.term:
		return ""
	case !n.votes(r.config.Self):
		return "this head has no vote yet, or none any more"
	case leader == "":
		return "no majority of the heads has elected a leader"
	case w.epoch != 0 && w.epoch <= gone:
		return fmt.Sprintf("epoch %v was given back", w.epoch)
	case w.epoch != 0 && w.epoch < o.Epoch:
		return fmt.Sprintf("epoch %v of %s is known, %v is not above it", o.Epoch, o.Owner, w.epoch)
	case name != r.config.Self:
		return fmt.Sprintf("%s leads, and has not handed over", name)
	}
	return "waits for most of the heads"
}

func (n *node) votes(name string) bool {
	for _, id := range n.voters() {
		if string(id) == name {
			return true
		}
	}
	return false
}

// Votes says who can vote, as "2 of 3: head1, head2".
func (r *Raft) Votes() string {
	r.mu.Lock()
	n := r.node
	r.mu.Unlock()
	if n == nil {
		return ""
	}
	voters, there := n.voters(), ""
	count, term, leads := 0, n.raft.CurrentTerm(), n.raft.State() == raft.Leader
	for _, id := range voters {
		_, leader := n.raft.LeaderWithID()
		ok := string(id) == r.config.Self || id == leader
		if leads {
			ok = ok || r.config.Now()-n.trans.contact(term, id) < r.config.promise()
		}
		if !ok {
			continue
		}
		count++
		if there != "" {
			there += ", "
		}
		there += string(id)
	}
	if !leads {
		return fmt.Sprintf("%d of %d at least: %s", count, len(voters), there)
	}
	return fmt.Sprintf("%d of %d: %s", count, len(voters), there)
}
