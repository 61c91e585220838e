package arbiter

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"masthead/appliance/failover"
)

// Witness is Voter.Head of a worker.
const Witness = -1

// Voter is a machine with a vote.
type Voter struct {
	Name string         `json:"name"`
	Addr netip.AddrPort `json:"addr"` // of its vote, UDP; not used for this head's own
	Head int            `json:"head"` // id of the head that it is, or Witness
}

// Roster is a list of voters. Another list has a higher version. The heads have one vote each; all witnesses together have
// one, which is what most of them say.
type Roster struct {
	Version uint32  `json:"version"`
	Voters  []Voter `json:"voters"`
}

func (r Roster) validate() error {
	if r.Version == 0 {
		return errors.New("list of voters: version 0")
	}
	var errs []error
	names, heads, addrs := map[string]bool{}, map[int]bool{}, map[netip.AddrPort]bool{}
	for _, v := range r.Voters {
		switch {
		case v.Name == "" || names[v.Name]:
			errs = append(errs, fmt.Errorf("voter %q: the name is missing or there twice", v.Name))
		case v.Head != Witness && (v.Head < 0 || v.Head >= failover.MaxHeads || heads[v.Head]):
			errs = append(errs, fmt.Errorf("voter %s: head id %d is out of range or there twice", v.Name, v.Head))
		case v.Addr.IsValid() && addrs[v.Addr]: // it would have two votes
			errs = append(errs, fmt.Errorf("voter %s: another one has its address %v", v.Name, v.Addr))
		}
		names[v.Name], addrs[v.Addr] = true, true
		if v.Head != Witness {
			heads[v.Head] = true
		}
	}
	if len(heads) == 0 || len(heads) > 2 {
		errs = append(errs, fmt.Errorf("list of voters: %d heads, want one or two", len(heads)))
	}
	return errors.Join(errs...)
}

// head is the name of the head with that id.
func (r Roster) head(id int) (name string, ok bool) {
	for _, v := range r.Voters {
		if v.Head == id && id != Witness {
			return v.Name, true
		}
	}
	return "", false
}

// quorum is the highest value that a quorum of the roster reaches: no member of it has a lower one. What is asked for may
// be the end of a lease, or when something was last heard.
func (r Roster) quorum(of func(Voter) failover.Instant) failover.Instant {
	var votes, witnesses []failover.Instant
	for _, v := range r.Voters {
		if v.Head == Witness {
			witnesses = append(witnesses, of(v))
		} else {
			votes = append(votes, of(v))
		}
	}
	if len(witnesses) > 0 {
		votes = append(votes, majority(witnesses))
	}
	return majority(votes)
}

// majority is the highest value that more than half of them reach.
func majority(v []failover.Instant) failover.Instant {
	if len(v) == 0 {
		return never
	}
	slices.SortFunc(v, func(a, b failover.Instant) int { return cmp.Compare(b, a) })
	return v[len(v)/2]
}
