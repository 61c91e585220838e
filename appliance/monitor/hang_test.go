package monitor

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"masthead/appliance/failover"
)

// TestHangingCheck: a check that nothing ends leaves the monitor unknown, is not begun a second time, and counts again when
// it has come back.
func TestHangingCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := make(chan struct{})
		var asked atomic.Int32
		ask := abandoning(func(context.Context) Result {
			asked.Add(1)
			<-server
			return up("fine")
		})
		for _, want := range []string{"the check hangs, and cannot be ended", "an earlier check still hangs", "an earlier check still hangs"} {
			began := time.Now()
			wantResult(t, timed(t.Context(), ask, time.Second), failover.Unknown, want)
			if took := time.Since(began); took > time.Second+letGo {
				t.Errorf("it took %s", took)
			}
		}
		if n := asked.Load(); n != 1 {
			t.Errorf("asked %d times at once", n)
		}
		close(server)
		synctest.Wait()
		wantResult(t, timed(t.Context(), ask, time.Second), failover.Up, "")
	})
}
