package arbiter

import (
	"errors"
	"fmt"
	"slices"

	"masthead/appliance/failover"
)

// Rosters are the lists of voters that a head goes by. It is what has to be kept on the disk.
type Rosters struct {
	Needed []Roster `json:"needed"` // of which each must agree, the oldest first
	// Coming is asked as well, but not needed yet, and the other head was not told of it.
	Coming *Roster `json:"coming,omitempty"`
}

func (r Rosters) newest() uint32 {
	if r.Coming != nil {
		return r.Coming.Version
	}
	return rosters(r.Needed).newest()
}

// same reports whether r and o are the same versions.
func (r Rosters) same(o Rosters) bool {
	version := func(a, b Roster) bool { return a.Version == b.Version }
	return slices.EqualFunc(r.Needed, o.Needed, version) && (r.Coming == nil) == (o.Coming == nil) && r.newest() == o.newest()
}

// with adds a newer list to come, in place of one that is to come.
func (r Rosters) with(next Roster) (Rosters, error) {
	if err := next.validate(); err != nil {
		return r, err
	}
	if next.Version <= r.newest() {
		return r, fmt.Errorf("list of voters: version %d, and %d is known", next.Version, r.newest())
	}
	if len(r.Needed) == 0 {
		return Rosters{Needed: []Roster{next}}, nil
	}
	return Rosters{Needed: r.Needed, Coming: &next}, nil
}

func (r Rosters) validate() error {
	var last Roster
	all := slices.Clone(r.Needed)
	if r.Coming != nil {
		all = append(all, *r.Coming)
	}
	if len(r.Needed) == 0 {
		return errors.New("no list of voters")
	}
	for _, next := range all {
		if err := next.validate(); err != nil {
			return err
		}
		if next.Version <= last.Version {
			return fmt.Errorf("lists of voters: version %d after %d", next.Version, last.Version)
		}
		last = next
	}
	return nil
}

// rosters are the lists of voters of which each must agree, the oldest first.
//
// The heads hear of a new list at different times, and a quorum of the old list and one of the new need not have a voter
// in common. So a head that has a new list needs a quorum of the old ones as well, until the other head has named a list
// that it has too: then only older ones are dropped.
//
// That is enough. Say K and L are the versions that the two heads have ever had, and x and y the newest in both K and L of
// which each knows that: the first needs all of K from x on, the second all of L from y on. The higher of x and y is in
// both K and L and not below x or y, so both need it, and quorums of one list have a voter in common.
//
// It holds only while no head forgets what it needs; Panel writes it down.
type rosters []Roster

// agree drops what is no longer needed when the other head says that its newest list is version.
func (rs rosters) agree(version uint32) rosters {
	i := slices.IndexFunc(rs, func(r Roster) bool { return r.Version == version })
	if i <= 0 {
		return rs
	}
	return slices.Clone(rs[i:])
}

func (rs rosters) newest() uint32 {
	if len(rs) == 0 {
		return 0
	}
	return rs[len(rs)-1].Version
}

// quorum is as Roster.quorum, where all rosters must agree.
func (rs rosters) quorum(of func(Voter) failover.Instant) failover.Instant {
	if len(rs) == 0 {
		return never
	}
	q := rs[0].quorum(of)
	for _, r := range rs[1:] {
		q = min(q, r.quorum(of))
	}
	return q
}

// voters are those of all rosters, each once, as the newest has them.
func (rs rosters) voters() []Voter {
	var out []Voter
	seen := map[string]bool{}
	for _, r := range slices.Backward(rs) {
		for _, v := range r.Voters {
			if !seen[v.Name] {
				seen[v.Name] = true
				out = append(out, v)
			}
		}
	}
	return out
}

// head is the name of the head with that id, in the newest roster that has it.
func (rs rosters) head(id int) string {
	for _, r := range slices.Backward(rs) {
		if name, ok := r.head(id); ok {
			return name
		}
	}
	return fmt.Sprintf("head %d", id)
}
