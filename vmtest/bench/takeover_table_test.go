package bench

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// takeovers are all repetitions.
type takeovers struct {
	mu  sync.Mutex
	all map[[2]string][]sample // by contender and fault
}

func newTakeovers() *takeovers { return &takeovers{all: map[[2]string][]sample{}} }

func (t *takeovers) add(contender, fault string, s sample) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := [2]string{contender, fault}
	t.all[k] = append(t.all[k], s)
}

// of are the median and the worst silence, and in how many repetitions two heads answered at once.
func of(all []sample) (middle, worst time.Duration, doubles, endless int, longest time.Duration) {
	var silent []float64
	for _, s := range all {
		silent = append(silent, float64(s.silent))
		worst, longest = max(worst, s.silent), max(longest, s.double)
		if s.double > 0 {
			doubles++
		}
		if s.endless {
			endless++
		}
	}
	return time.Duration(median(silent)), worst, doubles, endless, longest
}

// goal is the longest silence that masthead may have; 0: none, for the others.
func goal(contender, fault string) time.Duration {
	fast := strings.HasSuffix(contender, "fast")
	switch {
	case !strings.HasPrefix(contender, ours):
		return 0
	case fault == "planned switch":
		return 150 * time.Millisecond
	case fault == "kill -9, restart":
		return 100 * time.Millisecond // none: a few requests of the prober at most
	case fast:
		return 600 * time.Millisecond
	}
	return 900 * time.Millisecond
}

// wrong is what masthead must not do; empty: nothing of it.
func (r *rig) wrong(f fault, s sample) string {
	g := goal(r.name, f.name)
	switch {
	case g == 0:
		return ""
	case s.double > 0:
		return fmt.Sprintf("two owners at once, for %v", s.double)
	case s.silent > g || s.endless:
		return fmt.Sprintf("silent for %v to %s, beginning %v after the fault; the goal is %v (the prober stood still for %v)",
			s.silent.Round(time.Millisecond), s.to, s.began.Round(time.Millisecond), g, s.stall.Round(time.Millisecond))
	}
	return ""
}

func (t *takeovers) report(b *testing.B, rigs []*rig) {
	b.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, "silence of the address, ms; ratio: to the median of the first contender; two owners: repetitions, and the longest time (after kill -9: until the address was removed by hand)\n"+
		"%-18s %-24s %5s %8s %8s %7s  %s\n", "", "", "times", "median", "worst", "ratio", "two owners at once")
	for _, f := range faults {
		base := time.Duration(0)
		for _, r := range rigs {
			all := t.all[[2]string{r.name, f.name}]
			if len(all) == 0 {
				continue
			}
			middle, worst, doubles, endless, longest := of(all)
			base = cmp.Or(base, middle)
			note := "never"
			if doubles > 0 {
				note = fmt.Sprintf("in %d, for %.1f s", doubles, longest.Seconds())
				if strings.HasPrefix(r.name, ours) {
					b.Errorf("%s: %s: two owners at once in %d of %d", r.name, f.name, doubles, len(all))
				}
			}
			again := 0
			for _, s := range all {
				again += s.again
			}
			if again > 0 {
				note += fmt.Sprintf("; put aside: %d", again)
			}
			if n := len(slices.DeleteFunc(slices.Clone(all), func(s sample) bool { return s.stall <= stallMost })); n > 0 {
				note += fmt.Sprintf("; disturbed: %d", n)
			}
			if endless > 0 {
				note += fmt.Sprintf("; nobody took over in %d", endless)
			}
			if g := goal(r.name, f.name); g > 0 && worst <= g {
				note += fmt.Sprintf("; within the goal of %d ms", g.Milliseconds())
			} else if g > 0 {
				over := slices.DeleteFunc(slices.Clone(all), func(s sample) bool { return s.silent <= g })
				note += fmt.Sprintf("; above the goal of %d ms in %d", g.Milliseconds(), len(over))
			}
			fmt.Fprintf(&text, "%-18s %-24s %5d %8d %8d %7.1f  %s\n", f.name, r.name, len(all), middle.Milliseconds(), worst.Milliseconds(), float64(middle)/float64(base), note)
		}
	}
	b.Log("\n" + text.String())
	for name, unit := range map[string]string{panel: "panel", fast: "fast", fencing: "fencing"} {
		t.metric(b, name, "planned switch", "ms_planned_"+unit)
		t.metric(b, name, "power cut", "ms_power_"+unit)
	}
	t.ratio(b, "keepalived, 1 s", panel, "x_keepalived_1s")
	t.ratio(b, "keepalived, 0.1 s", fast, "x_keepalived_100ms")
	t.ratio(b, "Heartbeat, 1 s", panel, "x_heartbeat_1s")
	b.ReportMetric(0, "ns/op")
}

// metric reports the worst silence.
func (t *takeovers) metric(b *testing.B, contender, fault, unit string) {
	if all := t.all[[2]string{contender, fault}]; len(all) > 0 {
		_, worst, _, _, _ := of(all)
		b.ReportMetric(float64(worst.Milliseconds()), unit)
	}
}

// ratio reports how many times as long as ours the silence of a peer is after a power cut, by their medians.
func (t *takeovers) ratio(b *testing.B, peer, ours, unit string) {
	theirs, our := t.all[[2]string{peer, "power cut"}], t.all[[2]string{ours, "power cut"}]
	if len(theirs) > 0 && len(our) > 0 {
		p, _, _, _, _ := of(theirs)
		o, _, _, _, _ := of(our)
		b.ReportMetric(float64(p)/float64(o), unit)
	}
}

func TestTakeovers(t *testing.T) {
	const ms = time.Millisecond
	middle, worst, doubles, endless, longest := of([]sample{
		{silent: 30 * ms}, {silent: 900 * ms, endless: true}, {silent: 10 * ms, double: 2 * time.Second}, {silent: 20 * ms},
	})
	if middle != 25*ms || worst != 900*ms || doubles != 1 || endless != 1 || longest != 2*time.Second {
		t.Errorf("median %v, worst %v, %d with two owners for up to %v, %d without a takeover", middle, worst, doubles, longest, endless)
	}
	for _, tt := range []struct {
		contender, fault string
		want             time.Duration
	}{
		{"masthead, panel", "planned switch", 150 * ms},
		{"masthead, panel, fast", "power cut", 600 * ms},
		{"masthead, panel", "power cut", 900 * ms},
		{"keepalived, 1 s", "power cut", 0},
	} {
		if got := goal(tt.contender, tt.fault); got != tt.want {
			t.Errorf("%s, %s: goal %v, want %v", tt.contender, tt.fault, got, tt.want)
		}
	}
}
