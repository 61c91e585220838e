package heartbeat

import (
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"masthead/appliance/failover"
)

// TestMain is also a head in a namespace of its own (node_test.go), and what is timed (realtime_test.go).
func TestMain(m *testing.M) {
	if c := os.Getenv(nodeEnv); c != "" {
		os.Exit(beNode(c))
	}
	if role := os.Getenv(roleEnv); role != "" {
		os.Exit(beRole(role))
	}
	goleak.VerifyTestMain(m)
}

var testKey = []byte("0123456789abcdef")

// await waits until something is so.
func await(t testing.TB, what string, is func() bool) {
	t.Helper()
	timeout := time.NewTimer(20 * time.Second)
	defer timeout.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-timeout.C:
			t.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}

// saying is what a head of a test says.
func saying(boot uint64, epoch failover.Epoch) failover.Said {
	return failover.Said{BootID: boot, Epoch: epoch, Phase: failover.Standby, For: -1}
}
