package arbiter

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"masthead/appliance/failover"
	"masthead/node/witness"
)

// Authority is how the lease stands at now.
func (l *Lease) Authority(now failover.Instant) failover.Authority {
	a := failover.Authority{Kind: failover.Panel, Known: l.known}
	if until := l.heldUntil(); l.wants() && until > now {
		a.Held, a.Until = l.epoch, until
		l.open = max(l.open, until)
	}
	a.Owner = l.owner(now)
	a.Quorum = l.quorate(now)
	var memory witness.Answer
	memory, a.Vouches = l.Memory(now)
	if a.Vouches {
		a.Owned, a.Solo = failover.Epoch(memory.Owned), memory.Facts.Solo
	}
	if a.Held == 0 {
		a.Refused = l.refused(now)
	}
	return a
}

// fresh is how old an answer may be to say anything about now: a poll that was lost is forgiven.
func (l *Lease) fresh(st *standing, now failover.Instant) bool {
	return st.heard > now-(2*pollTimes+1)*l.config.Timing.Renew
}

// owner is the head that has a lease of a voter, of the highest epoch there is one of.
func (l *Lease) owner(now failover.Instant) string {
	var epoch uint64
	for _, st := range l.voters {
		if st.heard+st.last.Left > now && st.last.Left > 0 && st.last.Reason != witness.Abstains {
			epoch = max(epoch, st.last.Epoch)
		}
	}
	if epoch == 0 {
		return ""
	}
	return l.rosters.head(failover.Epoch(epoch).Head())
}

// votes reports whether the voter would grant a lease to somebody.
func (l *Lease) votes(st *standing, now failover.Instant) bool {
	return l.fresh(st, now) && st.last.Reason != witness.Abstains
}

func (l *Lease) quorate(now failover.Instant) failover.Reading {
	q := l.rosters.quorum(func(v Voter) failover.Instant {
		if st := l.voters[v.Name]; l.votes(st, now) {
			return st.heard
		}
		return never
	})
	switch {
	case q > never:
		return failover.Up
	case now < l.started+pollTimes*l.config.Timing.Renew:
		return failover.Unknown
	}
	return failover.Down
}

// Memory is what voters remember of the last owner, of the highest epoch there is; and whether that is all there was.
//
// An owner acted only after a quorum had heard from it what it was, two of {this head, the other, the witnesses}. If this
// head was in it, its own record on the disk knows the epoch. So what most witnesses remember and what the disk says cover
// all of them, or what the other head remembers and the disk.
func (l *Lease) Memory(now failover.Instant) (witness.Answer, bool) {
	var best witness.Answer
	q := l.rosters.quorum(func(v Voter) failover.Instant {
		if v.Head == l.config.Self {
			return now // the record on the disk
		}
		st := l.voters[v.Name]
		if !l.fresh(st, now) || !st.last.Remembers {
			return never
		}
		if st.last.Owned > best.Owned || st.last.Owned == best.Owned && st.last.Facts.Solo.After(best.Facts.Solo) {
			best = st.last
		}
		return st.heard
	})
	return best, q > never && best.Remembers
}

// refused says in words what is missing for a lease; empty where none is wanted, or nothing is known.
func (l *Lease) refused(now failover.Instant) string {
	if l.epoch == 0 {
		return ""
	}
	switch {
	case l.epoch <= l.gone:
		return fmt.Sprintf("epoch %v was given back", l.epoch)
	case l.epoch < l.known:
		return fmt.Sprintf("epoch %v is known, %v is not above it", l.known, l.epoch)
	}
	by := map[string][]string{}
	for name, st := range l.voters {
		if why := l.whyNot(st, now); why != "" {
			by[why] = append(by[why], name)
		}
	}
	var words []string
	for why, names := range by {
		slices.Sort(names)
		words = append(words, strings.Join(names, ", ")+": "+why)
	}
	slices.Sort(words)
	return strings.Join(words, "; ")
}

func (l *Lease) whyNot(st *standing, now failover.Instant) string {
	left := max(st.heard+st.last.Left-now, 0).Round(10 * time.Millisecond)
	switch {
	case st.heard == never && st.missing > 1, st.heard != never && !l.fresh(st, now):
		return "no answer"
	case st.heard == never || l.end((*standing).grant)(st.voter) > now:
		return ""
	}
	switch st.last.Reason {
	case witness.Abstains:
		return fmt.Sprintf("has restarted and abstains for another %v", left)
	case witness.Held:
		return fmt.Sprintf("%s has the lease for another %v", l.rosters.head(int(st.last.Holder)), left)
	case witness.OldEpoch:
		return fmt.Sprintf("epoch %v is known, %v is not above it", failover.Epoch(st.last.Epoch), l.epoch)
	case witness.OldGen:
		return "the cluster was recovered since; this head is not of its new generation"
	case witness.BadAsk:
		return "does not take part: another cluster, or shorter leases"
	}
	return ""
}

// Votes says who can vote, as "2 of 3: head1, head2; n01, n02 of n01, n02, n03 as witnesses".
func (l *Lease) Votes(now failover.Instant) string {
	if len(l.rosters) == 0 {
		return ""
	}
	r := l.rosters[len(l.rosters)-1]
	var heads, there, witnesses []string
	votes := 0
	for _, v := range r.Voters {
		ok := l.votes(l.voters[v.Name], now)
		switch {
		case v.Head != Witness:
			votes++
			if ok {
				heads = append(heads, v.Name)
			}
		default:
			witnesses = append(witnesses, v.Name)
			if ok {
				there = append(there, v.Name)
			}
		}
	}
	have, what := len(heads), strings.Join(heads, ", ")
	if have == 0 {
		what = "no head"
	}
	if len(witnesses) > 0 {
		votes++
		if len(there) > len(witnesses)/2 {
			have++
		}
		who := strings.Join(there, ", ")
		if len(there) == 0 {
			who = "none"
		}
		what += fmt.Sprintf("; %s of %s as witnesses", who, strings.Join(witnesses, ", "))
	}
	switch {
	case l.coming != nil:
		what += "; a newer list of voters waits for enough of them to answer"
	case len(l.rosters) > 1:
		what += "; the other head does not have this list of voters yet"
	}
	return fmt.Sprintf("%d of %d: %s", have, votes, what)
}
