package appliance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"time"

	"masthead/appliance/ownership"
	"masthead/appliance/state"
)

// rosterKey is the list of who votes on who owns the cluster.
var rosterKey = state.Key{Kind: state.KindCluster, Name: "roster"}

// rosterRecord is that list. Two heads are safe from one another only if one version never means two lists (package
// arbiter, rosters.go). The records that the list follows from cannot number it: they reach the heads in any order. So the
// list is a record of its own, and its version holds the number of the head that wrote it.
type rosterRecord struct {
	Version   uint32                    `json:"version"`
	Heads     map[string]ownership.Head `json:"heads"`
	Witnesses map[string]netip.Addr     `json:"witnesses,omitempty"`
}

func (r rosterRecord) sameVoters(o rosterRecord) bool {
	return maps.Equal(r.Heads, o.Heads) && maps.Equal(r.Witnesses, o.Witnesses)
}

// rosterVersions are as many as heads have numbers: version = count*rosterVersions + number of the writer.
const rosterVersions = maxHeads + 1

// nextRoster is the list that is to be written, or false if the one that is there will do. seen is the newest version that
// this head has ever gone by: it never goes back to an older one. Pure.
func nextRoster(have, want rosterRecord, seen uint32, number int) (rosterRecord, bool) {
	if have.Version > 0 && have.Version >= seen && have.sameVoters(want) {
		return have, false
	}
	want.Version = (max(have.Version, seen)/rosterVersions+1)*rosterVersions + uint32(number)
	return want, true
}

// rosterTurn is how long each head leaves the writing to those with lower numbers: who sees a change first is any of them,
// and two that write at once only make each other write again.
const rosterTurn = 300 * time.Millisecond

// errRosterTurn is a list of voters that another head is about to write.
var errRosterTurn = errors.New("another head is about to write the list of voters")

// voters is what this head knows of the list of voters. It belongs to runOwner.
type voters struct {
	seen    uint32    // the newest version that was given to the daemon
	read    bool      // seen holds what an earlier process has given
	differs time.Time // since when the list is another one than the state has; zero: it is not
}

// settleRoster brings the list of voters up to date, and gives its version.
func (h *Head) settleRoster(ctx context.Context, conf ownership.Config) (uint32, error) {
	v := &h.voters
	if !v.read {
		if old, err := ownership.ReadConfig(h.ownerDir()); err == nil && old.Cluster == conf.Cluster {
			v.seen = old.Roster
		}
		v.read = true
	}
	own, taken, turn := conf.Heads[conf.Self].Number, map[int]bool{}, 0
	for name, head := range conf.Heads {
		if taken[head.Number] {
			return 0, fmt.Errorf("two heads have the number %d for a moment", head.Number)
		}
		if taken[head.Number] = true; head.Number < own && h.headAlive(name) {
			turn++
		}
	}
	have, at, err := h.roster()
	if err != nil {
		return 0, err
	}
	want := rosterRecord{Heads: map[string]ownership.Head{}, Witnesses: conf.Witnesses}
	for name, head := range conf.Heads {
		want.Heads[name] = ownership.Head{Number: head.Number, Address: head.Address} // a new key is no other vote
	}
	next, changes := nextRoster(have, want, v.seen, own)
	if !changes {
		v.differs, v.seen = time.Time{}, have.Version
		return have.Version, nil
	}
	if v.differs.IsZero() {
		v.differs = time.Now()
	}
	if time.Since(v.differs) < time.Duration(turn)*rosterTurn {
		return 0, errRosterTurn
	}
	op, err := state.Put(rosterKey.Kind, rosterKey.Name, next)
	if err != nil {
		return 0, err
	}
	if _, err = h.store().Apply(ctx, ownOrigin, op.At(at)); errors.Is(err, state.ErrConflict) {
		return 0, errRosterTurn
	} else if err != nil {
		return 0, fmt.Errorf("write the list of voters: %w", err)
	}
	v.differs, v.seen = time.Time{}, next.Version
	return next.Version, nil
}

func (h *Head) roster() (rosterRecord, state.Version, error) {
	rec, err := h.db.Get(rosterKey)
	if errors.Is(err, state.ErrNotFound) {
		return rosterRecord{}, state.Version{}, nil
	}
	if err != nil {
		return rosterRecord{}, state.Version{}, err
	}
	r, err := state.Decode[rosterRecord](rec)
	return r, rec.Version, err
}
