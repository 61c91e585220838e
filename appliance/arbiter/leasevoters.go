package arbiter

import (
	"slices"

	"masthead/appliance/failover"
	"masthead/node/witness"
)

// SetRoster gives a newer list of voters; the older ones must agree as well until the other head has it.
func (l *Lease) SetRoster(r Roster, now failover.Instant) error {
	rs, err := l.Rosters().with(r)
	if err != nil {
		return err
	}
	l.coming = rs.Coming
	l.meet(now)
	return nil
}

// Ripe reports whether the coming list is to be adopted: a lease that this head has, or had before a restart, was granted by
// a quorum of the coming list too, or is over. So nobody loses a lease by a change of the voters, and the other head, which
// may need no other list from then on, cannot get one beside it. Adopted is to be on the disk before Adopt is called.
func (l *Lease) Ripe(now failover.Instant) bool {
	return l.coming != nil && (l.open <= now || l.coming.quorum(l.end((*standing).renewal)) >= l.open)
}

// Adopted are the lists after Adopt.
func (l *Lease) Adopted() Rosters {
	if l.coming == nil {
		return l.Rosters()
	}
	return Rosters{Needed: append(slices.Clone(l.rosters), *l.coming)}
}

// Adopt makes the coming list one of those that are needed, and has the other head told.
func (l *Lease) Adopt() { l.rosters, l.coming = l.Adopted().Needed, nil }

// HeardAsk is told what the other head asked of this head's vote. It reports whether older lists of voters were dropped.
//
// An owner's renewal makes its epoch known, so that it is on this head's disk soon: after a restart of both heads it may be
// the only place where it is.
func (l *Lease) HeardAsk(a witness.Ask, now failover.Instant) bool {
	if int(a.Holder) == l.config.Self || a.Cluster != l.config.Cluster {
		return false
	}
	if a.Kind == witness.Renew {
		l.known = max(l.known, failover.Epoch(a.Epoch))
	}
	if a.Kind == witness.Release && l.wants() && l.heldUntil() <= now {
		l.hurry(now) // its lease is this head's now
	}
	return l.heardRoster(a.Roster, now)
}

// heardRoster is told the newest list of voters that the other head has said it knows.
func (l *Lease) heardRoster(version uint32, now failover.Instant) bool {
	rs := l.rosters.agree(version)
	if len(rs) == len(l.rosters) {
		return false
	}
	l.rosters = rs
	l.meet(now)
	return true
}

// meet brings the standings in line with the lists.
func (l *Lease) meet(now failover.Instant) {
	keep := map[string]bool{}
	for _, v := range l.asks() {
		keep[v.Name] = true
		if st, ok := l.voters[v.Name]; ok {
			st.voter = v
			continue
		}
		l.voters[v.Name] = &standing{voter: v, pending: map[uint64]question{}, next: now, renewed: never, granted: never, soloSent: never, heard: never}
	}
	for name := range l.voters {
		if !keep[name] {
			delete(l.voters, name)
		}
	}
}

// Rosters are the lists of voters that the head goes by now.
func (l *Lease) Rosters() Rosters { return Rosters{Needed: l.rosters, Coming: l.coming} }

// asks are all who are asked.
func (l *Lease) asks() []Voter { return rosters(l.Adopted().Needed).voters() }

// Newest is the version of the newest list of voters that is needed: what this head's own vote tells the other.
func (l *Lease) Newest() uint32 { return l.rosters.newest() }
