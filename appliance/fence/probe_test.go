package fence

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"masthead/appliance/failover"
	"masthead/node/wire"
)

func TestProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{running: true}
		b := newBench(t, []*machine{m}, []*machine{nil})
		defer b.end()
		check := func(power, trouble string, events ...string) {
			t.Helper()
			want := []wire.FenceState{
				{Head: "b", Level: 1, Device: "d1", Agent: "qmp", Power: power, Trouble: trouble},
				{Head: "b", Level: 2, Device: "d2", Agent: "manual", Power: "unknown"},
			}
			if diff := cmp.Diff(want, b.States(), cmpopts.IgnoreFields(wire.FenceState{}, "Checked")); diff != "" {
				t.Errorf("states (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(events, b.told.take()); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		}
		check("unknown", "")
		time.Sleep(11 * time.Second)
		check("on", "")
		m.mu.Lock()
		m.status = func(context.Context, *machine) (bool, error) { return false, errors.New("no route to host") }
		m.mu.Unlock()
		time.Sleep(10 * time.Minute)
		check("unknown", "no route to host", "bad: fence device d1 for b fails: no route to host")
		m.mu.Lock()
		m.status = nil
		m.mu.Unlock()
		time.Sleep(67 * time.Second)
		check("on", "", "good: fence device d1 for b answers again: on")
		before := m.statuses()
		time.Sleep(time.Hour)
		if n := m.statuses() - before; n < 54 || n > 67 {
			t.Errorf("%d probes in an hour", n)
		}
		m.set(false)
		if got := b.Test(t.Context(), "b"); got[0].Power != "off" || len(got) != 2 {
			t.Errorf("Test: %+v", got)
		}
		if got := b.Test(t.Context(), "a"); got != nil {
			t.Errorf("Test of another head: %+v", got)
		}
		if m.count() != 0 {
			t.Errorf("%d orders by probes", m.count())
		}
	})
}

// TestFencingOvertakesProbe: a probe that hangs does not hold up a fencing, and is no fault of the device.
func TestFencingOvertakesProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{running: true, status: func(ctx context.Context, m *machine) (bool, error) {
			if m.on() {
				<-ctx.Done()
				return false, ctx.Err()
			}
			return false, nil
		}}
		b := newBench(t, []*machine{m})
		defer b.end()
		tested := make(chan []wire.FenceState)
		for range 2 {
			go func() { tested <- b.Test(context.Background(), "b") }()
		}
		synctest.Wait()
		began := time.Now()
		b.Start("b")
		if s := b.ended(); s.State != failover.FenceProof || time.Since(began) > 100*time.Millisecond {
			t.Errorf("%+v after %v", s, time.Since(began))
		}
		<-tested
		<-tested
		if events := b.told.take(); events != nil {
			t.Errorf("events: %q", events)
		}
	})
}

// TestTestRunsOut: whoever asks may set a shorter time; who gives up asking learns nothing about the device.
func TestTestRunsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{status: func(ctx context.Context, _ *machine) (bool, error) { <-ctx.Done(); return false, ctx.Err() }}
		b := newBench(t, []*machine{m})
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(100*time.Millisecond, cancel)
		if got := b.Test(ctx, ""); got[0].Trouble != "" {
			t.Errorf("%+v", got)
		}
		if events := b.told.take(); events != nil {
			t.Errorf("events: %q", events)
		}
		ctx, cancel = context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		if got := b.Test(ctx, ""); got[0].Trouble != "context deadline exceeded" {
			t.Errorf("%+v", got)
		}
		b.end()
	})
}
