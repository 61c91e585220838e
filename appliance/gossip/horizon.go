package gossip

import (
	"slices"
	"time"

	"masthead/appliance/state"
)

// horizonRule decides when all heads may forget deletions. One head follows it: the first of the configured ones by
// name. It picks the newest reading m of its state that is old enough. Phase 1: every other configured head is seen
// with the same state. From then on all heads have all that was written up to m, and no clock of theirs gives a
// reading below m any more. Phase 2: the same again, so that whatever was under way during phase 1 has arrived as well.
// Then m is the horizon. A head that is off holds it all up.
type horizonRule struct {
	phase int
	m     state.HLC
	since time.Time // phase began
	heads []string
	last  time.Time // a horizon was proposed
}

// sighting is what is known of one other head.
type sighting struct {
	head  string
	equal time.Time // last seen with a state that was ours then, and complete
}

// step looks at the heads and says the horizon to write, if any. now is of the monotonic clock, wall of the versions'.
func (h *horizonRule) step(now, wall time.Time, own string, sum state.Summary, others []sighting, t Timing) (state.HLC, bool) {
	ours := sum.Complete
	for _, s := range others {
		ours = ours && own < s.head
	}
	if !ours {
		h.phase = 0
		return 0, false
	}
	if h.last.IsZero() {
		h.last = now // not right after a start: a look at the others is worth more than memory
	}
	if h.phase == 0 && now.Sub(h.last) < t.HorizonEvery {
		return 0, false
	}
	heads := make([]string, len(others))
	for i, s := range others {
		heads[i] = s.head
	}
	slices.Sort(heads)
	if !slices.Equal(heads, h.heads) {
		h.phase, h.heads = 0, heads
	}
	if h.phase == 0 {
		m := min(sum.Newest, state.HLCAt(wall.Add(-t.HorizonAge)))
		if m <= sum.Horizon {
			return 0, false
		}
		h.phase, h.m, h.since = 1, m, now
		return 0, false
	}
	for _, s := range others {
		if !s.equal.After(h.since) {
			return 0, false
		}
	}
	if h.phase == 1 {
		h.phase, h.since = 2, now
		return 0, false
	}
	h.phase, h.last = 0, now
	return h.m, true
}
