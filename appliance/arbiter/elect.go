package arbiter

import (
	"time"

	"github.com/hashicorp/raft"
)

const (
	// electFirst is by how much a head that wants to own is later in becoming a candidate than those that do not. Who is last
	// wins: heads ask for votes only those that have given up the old leader, which they do by becoming candidates.
	electFirst = 40 * time.Millisecond
	// electApart is between heads, so that they do not split the votes.
	electApart = 15 * time.Millisecond
)

// elect makes this head a candidate when its promise to the leader is over. By itself raft would do so between one and three
// timeouts after the last heartbeat: it draws lots (raft.go, runFollower).
//
// ReloadConfig with a lower timeout has raft look at once whether that is over.
func (r *Raft) elect(n *node) {
	c := r.config
	silent := time.Since(n.raft.LastContact())
	self, _ := c.self()
	delay := time.Duration(self.ID) * electApart
	r.mu.Lock()
	if r.want.term || r.want.epoch != 0 {
		delay += electFirst
	}
	short := r.short
	r.mu.Unlock()
	free := n.trans.free()
	switch {
	case short && silent < c.lease():
		short = false
	case !short && free && silent >= c.promise()+delay && n.raft.State() != raft.Leader:
		short = true
	default:
		return
	}
	rc := n.raft.ReloadableConfig()
	rc.HeartbeatTimeout = c.library().HeartbeatTimeout
	if short {
		rc.HeartbeatTimeout = c.hurry()
	}
	rc.ElectionTimeout = rc.HeartbeatTimeout
	if err := n.raft.ReloadConfig(rc); err != nil {
		c.Log.Debug("timeouts of elections", "error", err)
		return
	}
	r.mu.Lock()
	r.short = short
	r.mu.Unlock()
}
