package simulation

import (
	"slices"
	"testing"
	"time"

	"masthead/appliance/failover"
)

// TestFound plays schedules, shrunk, with which a promise was broken once.
func TestFound(t *testing.T) {
	all := Scenarios()
	for _, tt := range []struct {
		why      string // of the fault that it found
		scenario string
		seed     uint64
		faults   []Fault
	}{
		{"who has claimed in vain made the last owner's own data older", "panel of 3, data", 1795330860383664123, []Fault{
			{What: WitnessMute, At: 600 * time.Millisecond, For: time.Second, X: 3},
			{What: Quit, At: 1300 * time.Millisecond, For: 12500 * time.Microsecond, A: 0, X: 1},
			{What: Pause, For: 400 * time.Millisecond, A: 1},
		}},
		{"a heartbeat that was long under way came after the takeover was decided", "pair, available, LAN alone", 1795332248291439604, []Fault{
			{What: LANCut, At: 125646745, For: 458016862, A: 0, X: 3},
			{What: AllCut, At: 637876642, For: 500 * time.Millisecond, A: 1, B: 0},
			{What: Delayed, At: 527273420, For: 100 * time.Millisecond, A: 1, X: 160},
		}},
		{"the standby counted as following while the copies had lost one another", "panel of 3, data", 1795336963637641794, []Fault{
			{What: Parted, At: 74761304, For: 114901022, A: 1, X: 1273},
			{What: Unhealthy, At: 800 * time.Millisecond, For: time.Second, A: 0},
			{What: Flapping, At: 1185557294, For: 500 * time.Millisecond, A: 1, X: 80},
			{What: Quit, At: 594961923, For: 12500 * time.Microsecond, A: 1, X: 477},
			{What: DirectCut, At: 1201232626, For: 500 * time.Millisecond, A: 1, X: 1},
		}},
		{"the old owner died in the middle of a switch, and was back: its copy was neither newer nor older, and the new owner waited for ever", "pair, safe, data", 1795342903355123580, []Fault{
			{What: PowerCut, At: 135505803, For: 12500 * time.Microsecond, A: 0},
			{What: Switch, At: 86930777, For: 12500 * time.Microsecond, A: 0},
		}},
		{"of three heads, one that was granted a term and cut off wrote alone until its lease ended, and the next one's copy had not noticed", "raft, 3 heads, data", 1795343779264416338, []Fault{
			{What: LANCut, At: 1459797548, For: time.Second, A: 1, X: 3},
			{What: Killed, At: 848310611, For: 11318832, A: 0, X: 218},
			{What: Switch, At: 215423912, For: 13413442, A: 0},
			{What: StopFails, For: 500 * time.Millisecond, A: 0},
		}},
		{"of three heads, the last owner's own claim made its data older than what it had said itself", "raft, 3 heads, data", 1795344450036218573, []Fault{
			{What: PowerCut, At: 354353783, For: 38606663, A: 2},
			{What: Flapping, At: 439617960, For: 1700 * time.Millisecond, A: 0, X: 640},
		}},
		{"a pair's copies were parted in the middle of a handover, and what was written last was left behind", "pair, safe, data", 1795345735100760093, []Fault{
			{What: Unhealthy, At: 1200 * time.Millisecond, For: 2 * time.Second, A: 0},
			{What: Pause, At: 214796536, For: 2 * time.Second, A: 0},
		}},
		{"a cut that began again after a moment was taken for the end of it (by the checker)", "pair, available, LAN alone", 1795395687619592147, []Fault{
			{What: AllCut, At: 29502393, For: 797363667, A: 1, B: 0},
			{What: AllCut, At: 869651637, For: 1200 * time.Millisecond, A: 0, B: 1},
		}},
		{"an answer for a virtual address that was lost, where there was one a round before, was taken for none", "pair, available", 1795395747643394646, []Fault{
			{What: AllCut, At: 211112093, For: 593097171, A: 1, B: 0},
			{What: Stopped, At: 695386819, For: 292250447, A: 0},
			{What: Lossy, At: 700 * time.Millisecond, For: 500 * time.Millisecond, A: 0, X: 2},
		}},
	} {
		sc := all[slices.IndexFunc(all, func(s Scenario) bool { return s.Name == tt.scenario })]
		s := Schedule{N: len(tt.faults)}
		copy(s.Faults[:], tt.faults)
		if r := NewPlayer(failover.Decide).Tell(sc, tt.seed, s); r.Failure.Invariant != "" {
			t.Errorf("%s, again:\n%s", tt.why, r.Report())
		}
	}
}
