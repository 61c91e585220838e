package data

import (
	"testing"
	"time"

	"masthead/appliance/failover"
)

func TestAttested(t *testing.T) {
	type part struct {
		lasts     time.Duration
		connected bool
		there     string
		want      string // at its end
	}
	const still = "nobody looks"
	for name, parts := range map[string][]part{
		"connected": {{2 * time.Second, true, "a", ""}, {time.Second, true, "b", "a"}, {2 * time.Second, true, "b", "b"}},
		"a machine was paused, and the others restarted meanwhile": {
			{5 * time.Second, true, "a", "a"}, {1200 * time.Millisecond, true, "new", "a"}, {6 * time.Second, false, "new", "a"},
			{2 * time.Second, true, "new", "a"}, {time.Second, true, "newer", "new"},
		},
		"never for long": {{time.Second, true, "a", ""}, {time.Second, false, "a", ""}, {time.Second, true, "a", ""}, {time.Second, false, "a", ""}},
		"stood still while DRBD would have found out": {
			{time.Second, true, "new", ""}, {3 * time.Second, true, still, ""}, {time.Second, true, "new", ""}, {time.Second, false, "new", ""},
		},
	} {
		var a Attested[string]
		now := failover.Instant(time.Hour)
		for i, p := range parts {
			for end := now + p.lasts; now < end; now += 100 * time.Millisecond {
				if p.there != still {
					a.See(p.connected, func() string { return p.there }, now)
				}
			}
			if a.Last != p.want {
				t.Errorf("%s: after part %d attested are %q, want %q", name, i+1, a.Last, p.want)
			}
		}
	}
}
