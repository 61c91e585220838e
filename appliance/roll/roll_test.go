package roll

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"masthead/images"
	"masthead/node/wire"
)

var older, newer = images.DigestOf([]byte("older")), images.DigestOf([]byte("newer"))

func node(name string, phase wire.Phase, running images.Digest) wire.Node {
	return wire.Node{Name: name, Phase: phase, Running: running, Wanted: newer, Boot: "b1"}
}

func outdated(names ...string) (all []wire.Node) {
	for _, name := range names {
		all = append(all, node(name, wire.PhaseUp, older))
	}
	return all
}

func TestParseWave(t *testing.T) {
	for _, tc := range []struct {
		text  string
		nodes int
		want  int // 0: an error
	}{
		{"1", 50, 1}, {"8", 3, 8}, {"10%", 50, 5}, {"10%", 9, 1}, {"25%", 7, 1}, {"100%", 7, 7},
		{"0", 5, 0}, {"0%", 5, 0}, {"101%", 5, 0}, {"", 5, 0}, {"-1", 5, 0}, {"ten", 5, 0}, {"5 %", 5, 0},
	} {
		if got, err := ParseWave(tc.text, tc.nodes); got != tc.want || (err != nil) != (tc.want == 0) {
			t.Errorf("%s of %d: %d, %v, want %d", tc.text, tc.nodes, got, err, tc.want)
		}
	}
}

func TestPlan(t *testing.T) {
	for name, tc := range map[string]struct {
		nodes []wire.Node
		panel Panel
		size  int
		want  []Wave
	}{
		"in order": {outdated("n1", "n2", "n3"), nil, 2, []Wave{{Restart: []string{"n1", "n2"}}, {Restart: []string{"n3"}}}},
		"what is done, off or without an image is left alone": {
			[]wire.Node{node("n1", wire.PhaseUp, newer), node("n2", wire.PhaseDown, older), {Name: "n3", Phase: wire.PhaseUp, Running: older}, node("n4", wire.PhaseUp, older)},
			nil, 9, []Wave{{Restart: []string{"n4"}}}},
		"those that start by themselves first": {
			[]wire.Node{node("n1", wire.PhaseUp, older), node("n2", wire.PhaseFailed, ""), node("n3", wire.PhaseBooting, "")}, nil, 2,
			[]Wave{{Await: []string{"n2", "n3"}}, {Restart: []string{"n1"}}}},
		"one witness of three at once": {
			outdated("n1", "n2", "n3", "n4"), Panel{"n1": true, "n2": true, "n3": true}, 4,
			[]Wave{{Restart: []string{"n1", "n4"}}, {Restart: []string{"n2"}}, {Restart: []string{"n3"}}}},
		"two of five": {
			outdated("n1", "n2", "n3", "n4", "n5"), Panel{"n1": true, "n2": true, "n3": true, "n4": true, "n5": true}, 5,
			[]Wave{{Restart: []string{"n1", "n2"}}, {Restart: []string{"n3", "n4"}}, {Restart: []string{"n5"}}}},
		"a witness that is on its way comes back first": {
			[]wire.Node{node("n1", wire.PhaseUp, older), node("n2", wire.PhaseFailed, "")}, Panel{"n1": true, "n2": false, "n3": true}, 5,
			[]Wave{{Await: []string{"n2"}}, {Restart: []string{"n1"}}}},
		"nothing to do": {[]wire.Node{node("n1", wire.PhaseUp, newer)}, nil, 1, nil},
	} {
		got, err := Plan(tc.nodes, tc.panel, tc.size)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: want (-), got (+):\n%s", name, diff)
		}
	}
}

func TestPlanBlocked(t *testing.T) {
	waves, err := Plan(outdated("n1", "n2", "n4"), Panel{"n1": true, "n2": true, "n3": false}, 5)
	var blocked *Blocked
	if !errors.As(err, &blocked) || len(waves) != 1 || !slices.Equal(waves[0].Restart, []string{"n4"}) {
		t.Fatalf("waves %v, %v", waves, err)
	}
	if diff := cmp.Diff(&Blocked{Left: []string{"n1", "n2"}, Away: []string{"n3"}, Of: 3}, blocked); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(blocked.Try(), "n3") || !strings.Contains(blocked.Error(), "n3 away") {
		t.Errorf("%v; try: %s", blocked, blocked.Try())
	}
}

// TestPlanKeepsMajority holds for any cluster: each node is restarted once, no wave is larger than it may be, and none
// takes away the majority of the witnesses.
func TestPlanKeepsMajority(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var nodes []wire.Node
		panel := Panel{}
		witnesses := rapid.SampledFrom([]int{0, 3, 5}).Draw(t, "witnesses")
		for i := range rapid.IntRange(witnesses, 20).Draw(t, "nodes") {
			n := node(fmt.Sprintf("n%02d", i), rapid.SampledFrom([]wire.Phase{wire.PhaseUp, wire.PhaseUp, wire.PhaseFailed, wire.PhaseDown}).Draw(t, "phase"), older)
			if rapid.Bool().Draw(t, "done") && n.Phase == wire.PhaseUp {
				n.Running = newer
			}
			if i < witnesses {
				panel[n.Name] = n.Phase == wire.PhaseUp
			}
			nodes = append(nodes, n)
		}
		size := rapid.IntRange(1, 8).Draw(t, "size")
		here := clonePanel(panel)
		waves, err := Plan(nodes, panel, size)
		seen := map[string]bool{}
		for _, w := range waves {
			all := w.Nodes()
			if len(all) == 0 || len(all) > size {
				t.Fatalf("wave %v of at most %d", all, size)
			}
			up := 0
			for name, there := range here {
				if there && !slices.Contains(w.Restart, name) {
					up++
				}
			}
			for _, name := range w.Restart {
				if _, witness := here[name]; witness && up < len(panel)/2+1 {
					t.Fatalf("wave %v leaves %d of %d witnesses", all, up, len(panel))
				}
			}
			for _, name := range all {
				if seen[name] {
					t.Fatalf("%s is in two waves", name)
				}
				seen[name] = true
				if _, witness := here[name]; witness {
					here[name] = true
				}
			}
		}
		for _, n := range nodes {
			if p := PartOf(n); err == nil && seen[n.Name] != (p == Restart || p == Await) {
				t.Fatalf("%s is %v: in a wave %v", n.Name, p, seen[n.Name])
			}
		}
	})
}

func TestJudge(t *testing.T) {
	told := Begun{Boot: "b1", Image: newer, Told: true}
	self := Begun{Boot: "b1", Image: newer}
	at := func(phase wire.Phase, boot string, running images.Digest) wire.Node {
		return wire.Node{Phase: phase, Boot: boot, Running: running, Stage: wire.StageRoot}
	}
	for name, tc := range map[string]struct {
		begun   Begun
		node    wire.Node
		elapsed time.Duration
		want    State
		why     string
	}{
		"has not restarted yet":          {told, at(wire.PhaseUp, "b1", older), 10 * time.Second, Waiting, ""},
		"is told of the image, and runs": {told, at(wire.PhaseUp, "b1", newer), 10 * time.Second, Waiting, ""},
		"boots":                          {told, at(wire.PhaseBooting, "b2", newer), 10 * time.Second, Waiting, ""},
		"firmware":                       {told, at(wire.PhaseBooting, "", ""), 10 * time.Second, Waiting, ""},
		"up":                             {told, at(wire.PhaseUp, "b2", newer), 10 * time.Second, Good, ""},
		"up, late":                       {told, at(wire.PhaseUp, "b2", newer), time.Hour, Good, ""},
		"up with something else":         {told, at(wire.PhaseUp, "b2", older), 10 * time.Second, Bad, "it came up with"},
		"fails":                          {told, at(wire.PhaseFailed, "b2", newer), 10 * time.Second, Bad, "its boot failed at stage root"},
		"never restarts":                 {told, at(wire.PhaseUp, "b1", older), time.Minute, Bad, "has not restarted"},
		"never comes back":               {told, at(wire.PhaseDown, "b1", older), time.Minute, Bad, "not up after 1m0s: down"},
		"fails on, by itself":            {self, at(wire.PhaseFailed, "b2", newer), 10 * time.Second, Waiting, ""},
		"comes up by itself":             {self, at(wire.PhaseUp, "b3", newer), 10 * time.Second, Good, ""},
		"its boot ends well":             {self, at(wire.PhaseUp, "b1", newer), 10 * time.Second, Good, ""},
		"up by itself with the old":      {self, at(wire.PhaseUp, "b1", older), 10 * time.Second, Waiting, ""},
		"fails to the end":               {self, at(wire.PhaseFailed, "b9", newer), time.Minute, Bad, "failed at stage root"},
	} {
		if got, why := Judge(tc.begun, tc.node, tc.elapsed, time.Minute); got != tc.want || !strings.Contains(why, tc.why) || (why == "") != (tc.why == "") {
			t.Errorf("%s: %v %q, want %v %q", name, got, why, tc.want, tc.why)
		}
	}
}

func TestBack(t *testing.T) {
	version := func(names string) (all []wire.ImageVersion) {
		for _, c := range names {
			all = append(all, wire.ImageVersion{Digest: images.DigestOf([]byte(string(c)))})
		}
		return all
	}
	for _, tc := range []struct {
		had, to string
		done    bool
	}{{"ab", "a", false}, {"aba", "a", true}, {"abc", "b", false}, {"abcb", "b", true}, {"abab", "b", true}, {"abcbd", "b", false}} {
		to, done, err := Back(version(tc.had))
		if err != nil || to != images.DigestOf([]byte(tc.to)) || done != tc.done {
			t.Errorf("%s: %s, %v, %v, want %s, %v", tc.had, to.Short(), done, err, tc.to, tc.done)
		}
	}
	if _, _, err := Back(version("a")); !errors.Is(err, ErrOneVersion) {
		t.Errorf("one version: %v", err)
	}
}

func TestStop(t *testing.T) {
	for _, tc := range []struct {
		failed, most int
		want         bool
	}{{0, 0, false}, {1, 0, true}, {1, 1, false}, {2, 1, true}} {
		if got := Stop(tc.failed, tc.most); got != tc.want {
			t.Errorf("%d of at most %d: %v", tc.failed, tc.most, got)
		}
	}
}
