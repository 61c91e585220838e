package cluster

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"masthead/images"
	"masthead/vmtest"
)

// vip is the virtual address of the tests' clusters: outside of the half of the network that DHCP gives away.
var vip = netip.MustParseAddr("10.77.0.100")

// fencedPair is the configuration of two heads with a serial cable that can switch one another off. The machine that probes
// is their gateway.
const fencedPair = `name: test
vips: [{address: 10.77.0.100/24}]
gateway: "${prober}"
heads:
  head1: {serial: [{device: /dev/ttyS1}], fence: [[{device: controller1}]]}
  head2: {serial: [{device: /dev/ttyS1}], fence: [[{device: controller2}]]}
fence_devices:
  - {name: controller1, agent: qmp, params: {address: "${management.head1}"}}
  - {name: controller2, agent: qmp, params: {address: "${management.head2}"}}
mail: {server: "${mail}", tls: none, to: [admin@example.org]}
`

// pairOf is a lab of two such heads.
func pairOf(name string, head vmtest.MachineConfig) vmtest.Config {
	head.Management = -1
	return vmtest.Config{
		Name: name, Capture: true, Cluster: fencedPair,
		Cables:   []vmtest.Pair{{Ends: [2]string{"head1", "head2"}}},
		Machines: map[string]vmtest.MachineConfig{"head1": head, "head2": head},
	}
}

// slowProbes are enough for heads whose takeover takes seconds, with a database: to answer two hundred questions a second, in two
// ways each, and to see that they are asked, takes a fifth of an emulated processor.
const slowProbes = 25 * time.Millisecond

// watched begins to watch the virtual address of a cluster for the length of the test; every: see Prepared.
func (s *several) watched(t *testing.T, every time.Duration) *Takeover {
	t.Helper()
	over, err := Watched(t.Context(), s.Cluster, Prepared{VIP: vip, Clients: s.clients, Every: every})
	must(t, err)
	t.Cleanup(func() {
		if err := over.Close(); err != nil {
			t.Error(err)
		}
	})
	return over
}

// scenarios puts a cluster through some of the matrix, each as a test of its own.
func (s *several) scenarios(t *testing.T, over *Takeover, names ...string) {
	t.Helper()
	for _, name := range names {
		i := slices.IndexFunc(Scenarios(), func(s Scenario) bool { return s.Name == name })
		if i < 0 {
			t.Fatalf("there is no scenario %q", name)
		}
		passed := t.Run(name, func(t *testing.T) {
			row, err := over.Run(t.Context(), Scenarios()[i])
			t.Logf("%s: %s → %s, epoch %s, silent for %.0f ms (goal %.0f ms), then %.0f ms; %d mails, %.1f s in all",
				row.Injected, row.Before, row.After, row.Epoch, row.Gap, row.Goal, row.Return, row.Mails, row.Took)
			if row.Failed != "" || row.Skipped != "" || err != nil {
				t.Fatalf("%s%s", row.Failed, row.Skipped)
			}
			for _, head := range s.Named(images.RoleHead) {
				out := ""
				eventually(t, replyTime, head+" tells its status", func(context.Context) (err error) { // a head that has just started has much to do
					out, err = s.at(t, head, "status")
					return err
				})
				if !strings.Contains(out, "Owner: "+row.After) {
					t.Errorf("status on %s does not name %s as the owner:\n%s", head, row.After, out)
				}
			}
		})
		if !passed {
			t.FailNow() // the next ones would only find what this one left
		}
	}
}

// TestVMTakeover takes two heads through what a head without a distribution can show of a takeover on a real kernel: the
// gate, the serial line, the network card, fencing through QMP.
func TestVMTakeover(t *testing.T) {
	turn := awaitTurn(t, fenced, 2)
	s := turn.startSeveral(t, pairOf("takeover", minimalHead(t)))
	over := s.watched(t, 0)
	began := time.Now()
	s.scenarios(t, over, "switch", "switch-back", "kill", "serial-cut", "lan-cut", "power-cut", "panic")
	t.Logf("all scenarios in %.1f s", time.Since(began).Seconds())
}
