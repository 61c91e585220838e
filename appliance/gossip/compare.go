package gossip

import (
	"bytes"
	"time"

	"masthead/appliance/state"
)

// side is what one of two heads knows of what was deleted long ago, and what its clock is.
type side struct {
	horizon  state.HLC
	complete bool
	now      time.Time // zero: unknown
}

func sideOf(s state.Summary, now time.Time) side { return side{s.Horizon, s.Complete, now} }

// refuses tells whether that head takes no record of this version: it is of a clock too far ahead of its own.
func (s side) refuses(v state.Version) bool {
	return !s.now.IsZero() && v.HLC.Time().Sub(s.now) > state.MaxSkew
}

// forgot tells whether that head had a record of this version and forgot it, if it does not hold it now: it has (or
// had) all up to its horizon.
func (s side) forgot(v state.Version) bool { return s.complete && v.HLC <= s.horizon }

// difference is what two heads must do to become equal in some leaves.
type difference struct {
	pull []state.Key   // they have a later version
	push []state.Key   // we have
	drop []state.Stamp // we have what they deleted and forgot
	// early is what they have and we do not take, for its clock. What they would not take is left out altogether.
	early []state.Stamp
}

// hashBytes is how much of a hash goes over the wire where hashes are compared: a false match in 2^64 would leave two
// heads different in one leaf until the next change there, and the roots, which are whole, would show it.
const hashBytes = 8

func short(h state.Hash) []byte { return h[:hashBytes] }

// compare finds it. What we forgot and they still have is theirs to drop. Pure.
func compare(ours, theirs []state.Stamp, our, their side) difference {
	var d difference
	pull := func(t state.Stamp) {
		if our.refuses(t.Version) {
			d.early = append(d.early, t)
		} else {
			d.pull = append(d.pull, t.Key)
		}
	}
	push := func(o state.Stamp) {
		if !their.refuses(o.Version) {
			d.push = append(d.push, o.Key)
		}
	}
	have := make(map[state.Key]state.Stamp, len(theirs))
	for _, t := range theirs {
		have[t.Key] = t
	}
	for _, o := range ours {
		t, both := have[o.Key]
		delete(have, o.Key)
		switch c := o.Version.Compare(t.Version); {
		case !both && their.forgot(o.Version):
			d.drop = append(d.drop, o)
		case !both, c > 0:
			push(o)
		case c < 0:
			pull(t)
		case !bytes.Equal(short(o.Hash), short(t.Hash)): // something is badly wrong; Merge chooses alike on both
			push(o)
			pull(t)
		}
	}
	for _, t := range theirs { // in their order, not the map's
		if _, only := have[t.Key]; only && !our.forgot(t.Version) {
			pull(t)
		}
	}
	return d
}
