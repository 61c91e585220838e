package data

import (
	"testing"
	"time"
)

func TestAttested(t *testing.T) {
	type step struct {
		at        time.Duration
		connected bool
		there     string
		want      string
	}
	for name, steps := range map[string][]step{
		"connected": {{0, true, "a", ""}, {time.Second, true, "b", ""}, {2 * time.Second, true, "b", "a"}, {4 * time.Second, true, "c", "b"}},
		"a machine was paused, and the others restarted meanwhile": {
			{0, true, "a", ""}, {2 * time.Second, true, "a", "a"}, {3100 * time.Millisecond, true, "new", "a"}, {3200 * time.Millisecond, false, "new", "a"},
			{9 * time.Second, false, "new", "a"}, {10 * time.Second, true, "new", "a"}, {11 * time.Second, true, "new", "a"}, {12 * time.Second, true, "newer", "new"},
		},
		"never for long": {{0, true, "a", ""}, {time.Second, false, "a", ""}, {2 * time.Second, true, "a", ""}, {3 * time.Second, false, "a", ""}},
	} {
		var a Attested[string]
		for _, s := range steps {
			a.See(s.connected, func() string { return s.there }, s.at)
			if a.Last != s.want {
				t.Errorf("%s: at %v attested are %q, want %q", name, s.at, a.Last, s.want)
			}
		}
	}
}
