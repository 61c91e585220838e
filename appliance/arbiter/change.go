package arbiter

import (
	"github.com/hashicorp/raft"
)

// change brings the heads one step nearer to the list. Others with an older list do nothing: the version is committed first.
func (r *Raft) change(n *node, o Ownership) {
	r.mu.Lock()
	list := r.voters
	r.mu.Unlock()
	if list.Version < o.Voters {
		return
	}
	have := n.raft.GetConfiguration().Configuration().Servers
	term := n.raft.CurrentTerm()
	step := nextChange(have, list, r.config.Self, func(id raft.ServerID) bool {
		return r.config.Now()-n.trans.contact(term, id) < r.config.lease()
	})
	if step.kind == noChange {
		return
	}
	if list.Version > o.Voters {
		_, _ = r.commit(n, command{Voters: list.Version}) // tried again
		return
	}
	var f raft.Future
	wait := r.config.promise()
	switch s := step.server; step.kind {
	case changeAdd:
		f = n.raft.AddNonvoter(s.ID, s.Address, 0, wait)
	case changePromote:
		f = n.raft.AddVoter(s.ID, s.Address, 0, wait)
	case changeRemove:
		f = n.raft.RemoveServer(s.ID, 0, wait)
	case changeLeave:
		// The leader is not in the list: another one removes it.
		f = n.raft.LeadershipTransfer()
	}
	if err := f.Error(); err != nil {
		r.config.Log.Debug("change of heads", "head", step.server.ID, "error", err)
		return
	}
	r.config.Log.Info("change of heads", "head", step.server.ID, "step", step.kind.String())
}

type changeKind uint8

const (
	noChange changeKind = iota
	changeAdd
	changePromote
	changeRemove
	changeLeave
)

func (k changeKind) String() string {
	return [...]string{"none", "added", "has a vote", "removed", "hands over"}[min(k, 4)]
}

type changeStep struct {
	kind   changeKind
	server raft.Server
}

// nextChange is the next step from the heads that there are to the list. A head gets a vote only while it answers: a second
// one that does not would leave the first without a majority.
func nextChange(have []raft.Server, list RaftVoters, self string, answers func(raft.ServerID) bool) changeStep {
	at := map[raft.ServerID]raft.Server{}
	for _, s := range have {
		at[s.ID] = s
	}
	var promote, extra *raft.Server
	for _, h := range list.Heads {
		s := raft.Server{ID: raft.ServerID(h.Name), Address: raft.ServerAddress(h.Addr.String())}
		was, there := at[s.ID]
		delete(at, s.ID)
		switch {
		case !there:
			return changeStep{changeAdd, s}
		case was.Address != s.Address && was.Suffrage == raft.Voter:
			return changeStep{changePromote, s} // keeps its vote, at another address
		case was.Suffrage != raft.Voter && promote == nil && answers(s.ID):
			promote = &s
		}
	}
	if promote != nil {
		return changeStep{changePromote, *promote}
	}
	if len(list.Heads) > 0 && !allVote(have, list) {
		return changeStep{} // those that stay are more important than those that go
	}
	for _, s := range have {
		if _, left := at[s.ID]; left && (extra == nil || string(extra.ID) == self) {
			extra = &s
		}
	}
	switch {
	case extra == nil:
		return changeStep{}
	case string(extra.ID) == self:
		return changeStep{changeLeave, *extra}
	}
	return changeStep{changeRemove, *extra}
}

// allVote reports whether all heads of the list that are there have a vote.
func allVote(have []raft.Server, list RaftVoters) bool {
	for _, s := range have {
		if _, ok := list.head(string(s.ID)); ok && s.Suffrage != raft.Voter {
			return false
		}
	}
	return true
}
