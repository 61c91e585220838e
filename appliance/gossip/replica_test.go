package gossip

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"masthead/appliance/state"
)

func TestMain(m *testing.M) {
	// memberlist's Shutdown does not wait for a probe under way, which lasts up to some seconds on a busy machine.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probe"),
		goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).sendPingAndWaitForAck"))
}

var admin = state.Origin{Who: "admin", Where: "local"}

func put(t testing.TB, kind state.Kind, name string, v any) state.Op {
	t.Helper()
	op, err := state.Put(kind, name, v)
	if err != nil {
		t.Fatal(err)
	}
	return op
}

func apply(t testing.TB, s state.Store, ops ...state.Op) state.Ack {
	t.Helper()
	ack, err := s.Apply(context.Background(), admin, ops...)
	if err != nil {
		t.Fatal(err)
	}
	return ack
}

// simulate runs f in a bubble with heads that are equal and complete.
func simulate(t *testing.T, names []string, f func(t *testing.T, c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, Timing{}, names...)
		defer c.stopAll()
		if took, ok := c.awaitEqual(10 * time.Second); !ok {
			t.Fatalf("the heads are not equal after %v", took)
		}
		time.Sleep(2 * time.Second) // all have answered all
		f(t, c)
	})
}

func TestWriteIsAcknowledgedByAPeer(t *testing.T) {
	simulate(t, []string{"a", "b", "c"}, func(t *testing.T, c *cluster) {
		start := time.Now()
		ack := apply(t, c.at("a").r, put(t, state.KindNode, "n01", 1))
		if ack.Degraded != "" || time.Since(start) > 10*time.Millisecond {
			t.Errorf("ack %+v after %v", ack, time.Since(start))
		}
		if took, ok := c.awaitEqual(2 * time.Second); !ok {
			t.Errorf("not equal after %v", took)
		}
		for _, s := range c.at("a").r.Status() {
			time.Sleep(1100 * time.Millisecond)
			if s = c.at("a").r.Status()[0]; !s.Alive || !s.Equal || s.Reason != "" {
				t.Errorf("status %+v", s)
			}
		}
	})
}

func TestWriteAloneIsNotDegraded(t *testing.T) {
	simulate(t, []string{"a"}, func(t *testing.T, c *cluster) {
		if ack := apply(t, c.at("a").r, put(t, state.KindNode, "n01", 1)); ack.Degraded != "" {
			t.Errorf("a cluster of one: %+v", ack)
		}
	})
}

func TestWriteIsDegradedWhenThePeerIsOff(t *testing.T) {
	simulate(t, []string{"a", "b"}, func(t *testing.T, c *cluster) {
		c.crash("b")
		start := time.Now()
		ack := apply(t, c.at("a").r, put(t, state.KindNode, "n01", 1))
		if took := time.Since(start); !strings.Contains(ack.Degraded, "b does not answer since") || took > time.Second {
			t.Errorf("%+v after %v", ack, took)
		}
		start = time.Now()
		ack = apply(t, c.at("a").r, put(t, state.KindNode, "n01", 2))
		if took := time.Since(start); !strings.Contains(ack.Degraded, "b does not answer since") || took != 0 {
			t.Errorf("the second: %+v after %v; want an answer at once", ack, took)
		}
		c.start("b")
		if took, ok := c.awaitEqual(5 * time.Second); !ok {
			t.Errorf("not equal %v after b is back", took)
		}
		if ack := apply(t, c.at("a").r, put(t, state.KindNode, "n01", 3)); ack.Degraded != "" {
			t.Errorf("after b is back: %+v", ack)
		}
	})
}

// Who takes out the last other head, which is dead, is alone from then on: there is nobody to wait for.
func TestTheLastOtherHeadIsTakenOut(t *testing.T) {
	simulate(t, []string{"a", "b"}, func(t *testing.T, c *cluster) {
		c.crash("b")
		r, peers := c.at("a").r, c.at("a").r.conf.Peers
		r.conf.Peers = func() []Peer {
			if rec, err := r.Get(state.Key{Kind: state.KindHead, Name: "b"}); err != nil || rec.Deleted {
				return nil
			}
			return peers()
		}
		if ack := apply(t, r, put(t, state.KindHead, "b", 1)); ack.Degraded == "" {
			t.Errorf("with b off: %+v", ack)
		}
		if ack := apply(t, r, state.Delete(state.KindHead, "b")); ack.Degraded != "" {
			t.Errorf("without b: %+v", ack)
		}
	})
}

func TestPartitionHeals(t *testing.T) {
	simulate(t, []string{"a", "b"}, func(t *testing.T, c *cluster) {
		c.cut("a", "b", true)
		for _, n := range []string{"a", "b"} {
			start := time.Now()
			ack := apply(t, c.at(n).r, put(t, state.KindNode, "n01", n))
			if took := time.Since(start); ack.Degraded == "" || took > 1100*time.Millisecond {
				t.Errorf("%s: %+v after %v", n, ack, took)
			}
		}
		time.Sleep(time.Minute)
		c.cut("a", "b", false)
		took, ok := c.awaitEqual(5 * time.Second)
		t.Log("equal", took, "after the heal")
		if !ok {
			t.Error("not equal in time")
		}
		entries, err := c.at("a").r.Audit(10)
		if err != nil || entries[0].Conflict == nil && entries[1].Conflict == nil && entries[2].Conflict == nil {
			t.Errorf("the lost write is not in the audit log: %+v, %v", entries, err)
		}
	})
}

// A head whose disk is put back to an old copy holds what all others deleted and forgot: it does not come back.
func TestForgottenStaysDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, Timing{HorizonAge: time.Minute, HorizonEvery: time.Minute}, "a", "b", "c")
		defer c.stopAll()
		apply(t, c.at("a").r, put(t, state.KindNode, "n01", "old"), put(t, state.KindNode, "n02", "stays"))
		if took, ok := c.awaitEqual(5 * time.Second); !ok {
			t.Fatalf("not equal after %v", took)
		}
		key := state.Key{Kind: state.KindNode, Name: "n01"}
		late, err := c.at("a").db.Records([]state.Key{key})
		if err != nil || len(late) != 1 {
			t.Fatal(late, err)
		}
		c.crash("b")
		path := c.net.heads["b"].dir + "/state.db"
		old, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		c.start("b")
		deleted := apply(t, c.at("a").r, state.Delete(state.KindNode, "n01"))
		for i := 0; c.at("b").db.Summary().Horizon < deleted.Version.HLC; i++ {
			if i > 100 {
				t.Fatal("the deletion was not forgotten")
			}
			apply(t, c.at("a").r, put(t, state.KindNode, "n03", i)) // a horizon is no later than the last write
			time.Sleep(10 * time.Second)
		}
		if rest, _ := c.at("a").db.Records([]state.Key{key}); len(rest) != 0 {
			t.Errorf("the tombstone is still there: %v", rest)
		}
		// A message that was under way for hours.
		if _, err := c.at("a").r.serve(t.Context(), "b", callPush, state.EncodeBatch(late)); err != nil || has(c.at("a").db, "n01") {
			t.Errorf("a late message brought it back, %v", err)
		}
		c.crash("b")
		if err := os.WriteFile(path, old, 0o600); err != nil {
			t.Fatal(err)
		}
		c.start("b")
		if !has(c.at("b").db, "n01") {
			t.Error("the old disk does not have it: this test shows nothing")
		}
		if took, ok := c.awaitEqual(10 * time.Second); !ok {
			t.Fatalf("not equal after %v", took)
		}
		for _, n := range []string{"a", "b", "c"} {
			if has(c.at(n).db, "n01") || !has(c.at(n).db, "n02") {
				t.Errorf("%s: n01 there %t, n02 there %t; want only n02", n, has(c.at(n).db, "n01"), has(c.at(n).db, "n02"))
			}
		}
	})
}

func TestClockAheadRefusesToWrite(t *testing.T) {
	simulate(t, []string{"a", "b", "c"}, func(t *testing.T, c *cluster) {
		// It was set wrong while the machine was off: nothing here remembers what it was.
		c.crash("a")
		c.net.heads["a"].skew.Store(int64(time.Hour))
		c.start("a")
		time.Sleep(6 * time.Second) // b looks at a's clock every 5 s
		_, err := c.at("a").r.Apply(t.Context(), admin, put(t, state.KindNode, "n01", 1))
		var hint interface{ Try() string }
		if !errors.Is(err, state.ErrClockAhead) || !errors.As(err, &hint) || !strings.Contains(hint.Try(), "set the clock") {
			t.Errorf("Apply with a clock an hour ahead: %v", err)
		}
		if s := statusOf(c.at("b").r, "a"); (s.Skew-time.Hour).Abs() > time.Second || s.Reason == "" {
			t.Errorf("b's status of a: %+v", s)
		}
		c.net.heads["a"].skew.Store(0)
		if ack := apply(t, c.at("a").r, put(t, state.KindNode, "n01", 2)); ack.Degraded != "" {
			t.Errorf("after the clock was set: %+v", ack)
		}
	})
}

// A step forward while running is not used, so writes go on with right versions.
func TestClockStepIsHeldBack(t *testing.T) {
	simulate(t, []string{"a", "b"}, func(t *testing.T, c *cluster) {
		c.net.heads["a"].skew.Store(int64(time.Hour))
		for range 3 {
			ack := apply(t, c.at("a").r, put(t, state.KindNode, "n01", time.Now().String()))
			if ack.Degraded != "" || time.Until(ack.Version.HLC.Time()) > time.Second {
				t.Errorf("%+v: want a version of now", ack)
			}
			time.Sleep(20 * time.Second)
		}
		if s := statusOf(c.at("a").r, "b"); !strings.Contains(s.Reason, "set forward") {
			t.Errorf("a's status of b: %+v", s)
		}
		// The other one follows: then the time was right.
		c.net.heads["b"].skew.Store(int64(time.Hour))
		time.Sleep(time.Minute)
		ack := apply(t, c.at("a").r, put(t, state.KindNode, "n01", "later"))
		if got := time.Until(ack.Version.HLC.Time()); ack.Degraded != "" || (got-time.Hour).Abs() > time.Minute {
			t.Errorf("after both were set: %+v, %v from now", ack, got)
		}
	})
}

// Records from the future are refused with an event that names the head and the lead.
func TestRecordsFromTheFuture(t *testing.T) {
	simulate(t, []string{"a", "b"}, func(t *testing.T, c *cluster) {
		var mu sync.Mutex
		var events []string
		c.events = func(head, text string, failed bool) {
			mu.Lock()
			defer mu.Unlock()
			events = append(events, head+": "+text)
		}
		c.net.heads["b"].skew.Store(int64(-time.Minute)) // b's clock is late, so all of a's is from the future
		ack := apply(t, c.at("a").r, put(t, state.KindNode, "n01", 1))
		if !strings.Contains(ack.Degraded, "the clock of a is 60.0 s ahead") {
			t.Errorf("%+v", ack)
		}
		time.Sleep(time.Second)
		mu.Lock()
		defer mu.Unlock()
		if len(events) != 1 || !strings.Contains(events[0], "b: ") || !strings.Contains(events[0], "the clock of a, which wrote them, is 60.0 s ahead") {
			t.Errorf("events %q", events)
		}
	})
}

func TestSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, Timing{}, "a", "b")
		defer c.stopAll()
		c.cut("a", "b", true) // b hears nothing by itself
		fill(t, c.at("a").db, 3000)
		if c.at("b").db.Summary().Complete {
			t.Fatal("b is complete without having anything")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := c.at("b").r.Sync(ctx, "a", nil); err == nil {
			t.Error("Sync over a cut link says nothing")
		}
		c.cut("a", "b", false)
		last, calls := 0, 0
		err := c.at("b").r.Sync(ctx, "a", func(done, total int) {
			if done < last || total != 3000 {
				t.Errorf("%d of %d, after %d", done, total, last)
			}
			last = done
			calls++
		})
		if err != nil || last != 3000 || calls == 0 || !c.equal() { // a may push some of it meanwhile, in fewer steps
			t.Errorf("Sync: %v, %d records in %d steps, equal %t", err, last, calls, c.equal())
		}
		if err := c.at("b").r.Sync(ctx, "x", nil); err == nil || !strings.Contains(err.Error(), "no other configured head") {
			t.Errorf("Sync with nobody: %v", err)
		}
	})
}

func TestVerifyAndDiff(t *testing.T) {
	simulate(t, []string{"a", "b", "c"}, func(t *testing.T, c *cluster) {
		heads, equal, err := c.at("a").r.Verify(t.Context())
		if err != nil || !equal || len(heads) != 3 || heads[0].Head != "a" {
			t.Errorf("%+v, %t, %v", heads, equal, err)
		}
		c.cut("a", "b", true)
		c.cut("c", "b", true)
		apply(t, c.at("b").r, put(t, state.KindInventory, "n01", 1))
		heads, equal, _ = c.at("a").r.Verify(t.Context())
		if equal || heads[1].Err == nil || heads[2].Err != nil {
			t.Errorf("b is cut off: %+v, %t", heads, equal)
		}
		c.cut("a", "b", false)
		diff, err := c.at("a").r.Diff(t.Context(), "b")
		if err != nil || len(diff) != 1 || diff[0].Key.Name != "n01" || !diff[0].Ours.IsZero() || diff[0].Theirs.Head != "b" {
			t.Errorf("Diff = %+v, %v", diff, err)
		}
	})
}

// A head whose machine is set back to a snapshot takes nothing from the others that it has not had then.
func TestDiskSetBack(t *testing.T) {
	simulate(t, []string{"a", "b"}, func(t *testing.T, c *cluster) {
		file := c.net.heads["b"].dir + "/state.db"
		apply(t, c.at("a").r, put(t, state.KindNode, "before", 1), put(t, state.KindNode, "gone", 1))
		time.Sleep(10 * time.Second)
		snapshot, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		apply(t, c.at("a").r, put(t, state.KindNode, "after", 1), state.Delete(state.KindNode, "gone"))
		time.Sleep(14 * time.Hour)
		if sum := c.at("a").db.Summary(); sum.Horizon == 0 {
			t.Fatal("the horizon did not move")
		}
		c.crash("b")
		if err := os.WriteFile(file, snapshot, 0o600); err != nil {
			t.Fatal(err)
		}
		c.start("b")
		if took, ok := c.awaitEqual(10 * time.Second); !ok {
			t.Errorf("not equal after %v", took)
		}
		for _, head := range []string{"a", "b"} {
			var names []string
			for _, r := range c.at(head).r.List(state.KindNode, "") {
				names = append(names, r.Key.Name)
			}
			if got := strings.Join(names, " "); got != "after before" {
				t.Errorf("%s has %q", head, got)
			}
		}
	})
}
