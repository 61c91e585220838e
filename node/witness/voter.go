package witness

import "time"

// VoterConfig is what a voter must know.
type VoterConfig struct {
	Cluster uint64
	Boot    uint64        // random, another one at each start
	Longest time.Duration // the longest lease that is granted
	Margin  time.Duration // covers how far two clocks drift apart in a lease
}

// Voter grants a lease to one head at a time. It is not safe for concurrent use: Server is.
//
// A lease is counted from when the ask came in, and a margin is added, where its holder counts from when the ask was sent,
// and takes a margin off: the holder is done first, whatever the network did to the packets.
type Voter struct {
	config   VoterConfig
	abstains time.Duration // until then
	epoch    uint64        // the highest that was granted, or that an owner renewed
	holder   uint8
	until    time.Duration
	released [Holders]uint64 // by each head: epochs up to it are over
	roster   uint32
	owned    uint64 // of facts; 0: remembers nothing
	facts    Facts
}

// NewVoter starts a vote at now, a monotonic time as in Answer.
func NewVoter(c VoterConfig, now time.Duration) *Voter {
	return &Voter{config: c, abstains: now + c.Longest + c.Margin}
}

// SetRoster sets what the voter answers about its head's list of voters.
func (v *Voter) SetRoster(version uint32) { v.roster = version }

// Answer answers a, which came in at now. Times of one voter must not decrease.
func (v *Voter) Answer(a Ask, now time.Duration) Answer {
	granted, reason := v.decide(a, now)
	out := Answer{Nonce: a.Nonce, Boot: v.config.Boot, Granted: granted, Reason: reason, Epoch: v.epoch, Holder: v.holder, Roster: v.roster}
	switch {
	case now < v.abstains:
		// A head that asks now is told nothing that it could take for the whole truth.
		out.Left = v.abstains - now
		return out
	case now < v.until:
		out.Left = v.until - now
	}
	if v.owned != 0 {
		out.Remembers, out.Owned, out.Facts = true, v.owned, v.facts
	}
	return out
}

func (v *Voter) decide(a Ask, now time.Duration) (bool, Reason) {
	switch {
	case a.Cluster != v.config.Cluster:
		return false, BadAsk
	case a.Kind == Query:
		if now < v.abstains {
			return false, Abstains
		}
		return false, NotRefused
	case a.Kind < Query || a.Kind > Release || a.Holder >= Holders || a.Epoch == 0 || a.Epoch%Holders != uint64(a.Holder):
		return false, BadAsk
	case a.Voter != v.config.Boot:
		return false, Restarted
	case a.Kind == Release:
		v.released[a.Holder] = max(v.released[a.Holder], a.Epoch)
		if v.holder == a.Holder && v.epoch <= a.Epoch {
			v.until = min(v.until, now)
		}
		if now < v.abstains { // or who gives up would take this for a vote, claim, be refused, and give up again
			return true, Abstains
		}
		return true, NotRefused
	case a.TTL <= 0 || a.TTL > v.config.Longest:
		return false, BadAsk
	case a.Facts.Gen < v.facts.Gen:
		return false, OldGen
	case a.Epoch < max(v.epoch, v.owned) || a.Epoch <= v.released[a.Holder]:
		return false, OldEpoch
	}
	if a.Kind == Renew {
		// It owns, whatever this voter thinks of it: it has enough votes without this one. Only what it says is known.
		v.owned, v.facts = a.Epoch, a.Facts
	}
	switch {
	case now < v.abstains:
		return false, Abstains
	case now < v.until && v.holder != a.Holder:
		return false, Held
	}
	v.epoch, v.holder, v.until = a.Epoch, a.Holder, now+a.TTL+v.config.Margin
	return true, NotRefused
}
