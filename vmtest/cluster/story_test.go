package cluster

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"masthead/node/wire"
)

// initStages are what every worker reports itself.
var initStages = []wire.Stage{wire.StageMounts, wire.StageModules, wire.StageNetwork, wire.StageHello, wire.StageRoot,
	wire.StageHandover, wire.StageUp}

// checkStages holds a boot against the stages that it must have passed, in their order and each done.
func checkStages(t *testing.T, why wire.Why, firmware ...wire.Stage) {
	t.Helper()
	var got []wire.Stage
	last := 0.0
	for _, s := range why.Stages {
		got = append(got, s.Stage)
		if s.Outcome != wire.OutcomeDone {
			t.Errorf("%s: stage %s is %s: %s", why.Node.Name, s.Stage, s.Outcome, s.Cause)
		}
		if s.Took < 0 || s.At != 0 && s.At < last || s.Time.IsZero() {
			t.Errorf("%s: stage %s at %.2f s took %.2f s, on %v; the one before was at %.2f s", why.Node.Name, s.Stage, s.At, s.Took, s.Time, last)
		}
		last = max(last, s.At)
	}
	if diff := cmp.Diff(append(firmware, initStages...), got); diff != "" {
		t.Errorf("%s: stages (-want +got):\n%s", why.Node.Name, diff)
	}
	if why.Node.BootedIn <= 0 {
		t.Errorf("%s: booted in %.2f s", why.Node.Name, why.Node.BootedIn)
	}
}

var confirmed = regexp.MustCompile(`^ack ([0-9.]+)`)

// acks are the addresses that a node was given in its last boots, each once, and how often the head confirmed one.
func acks(why wire.Why) (addresses []netip.Addr, times int) {
	seen := map[netip.Addr]bool{}
	for _, e := range why.Events {
		m := confirmed.FindStringSubmatch(e.Text)
		if e.Kind != "dhcp" || m == nil {
			continue
		}
		times++
		if a, err := netip.ParseAddr(m[1]); err == nil && !seen[a] {
			seen[a] = true
			addresses = append(addresses, a)
		}
	}
	return addresses, times
}

// checkOneAddress holds a node to one address for firmware, loader and Linux; asks is how many of them ask for one. want
// is its reserved address, if it has one.
func checkOneAddress(t *testing.T, why wire.Why, want netip.Addr, asks int) {
	t.Helper()
	addresses, times := acks(why)
	if len(addresses) != 1 || times < asks || want.IsValid() && addresses[0] != want {
		t.Errorf("%s: the head confirmed %v in %d acks, want one address (%v) in at least %d:\n%s",
			why.Node.Name, addresses, times, want, asks, eventsText(why.Events))
		return
	}
	for _, s := range why.Stages {
		if s.Stage == wire.StageNetwork && !strings.Contains(s.Detail, addresses[0].String()+"/") {
			t.Errorf("%s: Linux has %s, the firmware had %s", why.Node.Name, s.Detail, addresses[0])
		}
	}
}

func eventsText(events []wire.Event) string {
	var s string
	for _, e := range events {
		s += e.Time.Format("15:04:05.000") + " " + e.Kind + " " + e.Node + " " + e.Text + "\n"
	}
	return s
}
