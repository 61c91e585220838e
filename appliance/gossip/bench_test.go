package gossip

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"masthead/appliance/state"
)

// nodeValue is about as long as a node's record with its network cards.
func nodeValue(i int) map[string]any {
	return map[string]any{
		"number": i, "macs": []string{fmt.Sprintf("52:54:00:%02x:%02x:%02x", i>>16&255, i>>8&255, i&255)},
		"image": "worker-debian:2026-11-22", "groups": []string{"compute", "rack-" + fmt.Sprint(i/40)},
		"cmdline": "console=ttyS0,115200 root=lazy", "note": strings.Repeat("x", 120),
	}
}

// fill writes n records, thousands at once.
func fill(t testing.TB, db *state.DB, n int) {
	for from := 0; from < n; from += 5000 {
		var ops []state.Op
		for i := from; i < min(n, from+5000); i++ {
			ops = append(ops, put(t, state.KindInventory, fmt.Sprintf("node-%05d", i), nodeValue(i)))
		}
		apply(t, db, ops...)
	}
}

func ready(b *testing.B) *realCluster {
	c := newRealCluster(b, "a", "b")
	c.await("equal", c.equal)
	c.await("members", func() bool { return c.members(2) })
	return c
}

// BenchmarkState is two heads with everything but the machines, in turn with two members of etcd where it is installed.
// x_etcd is how many times faster than etcd they are. An iteration of the first three is round writes of each.
func BenchmarkState(b *testing.B) {
	b.Run("visible on the other head", benchVisible)
	for _, writers := range []int{1, 32} {
		b.Run(fmt.Sprintf("acknowledged by two, %d writers", writers), func(b *testing.B) { benchAcknowledged(b, writers) })
	}
	b.Run("repair of 1 in 40,000", benchRepair)
	b.Run("first sync of 40,000", benchFirstSync)
}

const round = 500

// benchVisible is the time from a write on one head until a reader of the other one sees it.
func benchVisible(b *testing.B) {
	c, e := ready(b), startEtcd(b)
	from, to := c.heads["a"], c.heads["b"]
	watch := to.r.Watch(state.KindInventory)
	defer watch.Close()
	next := func() {}
	if e != nil {
		next = e.watch(b, 1)
	}
	var ours, theirs []time.Duration
	n := 0
	once := func(write func(), seen func()) time.Duration {
		start := time.Now()
		var wg sync.WaitGroup
		wg.Go(write)
		seen()
		took := time.Since(start)
		wg.Wait()
		return took
	}
	for b.Loop() {
		for range round {
			n++
			ours = append(ours, once(
				func() { apply(b, from.r, put(b, state.KindInventory, fmt.Sprintf("m%d", n%1000), n)) },
				func() {
					if _, err := watch.Next(context.Background()); err != nil {
						b.Error(err)
					}
				}))
		}
		b.StopTimer()
		for range round {
			if e != nil {
				n++
				theirs = append(theirs, once(func() {
					if err := e.put(0, fmt.Sprintf("m%d", n%1000), fmt.Sprint(n)); err != nil {
						b.Error(err)
					}
				}, next))
			}
		}
		b.StartTimer()
	}
	reportTimes(b, "", ours)
	if e != nil {
		reportTimes(b, "etcd-", theirs)
		b.ReportMetric(float64(at(theirs, 50))/float64(at(ours, 50)), "x_etcd")
	}
}

func reportTimes(b *testing.B, whose string, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(at(took, 50).Microseconds()), whose+"median-µs")
	b.ReportMetric(float64(at(took, 99).Microseconds()), whose+"p99-µs")
}

// at is a percentile of sorted times.
func at(took []time.Duration, percent int) time.Duration { return took[len(took)*percent/100] }

// benchAcknowledged is writes on a head that both have, durably, when they are answered.
func benchAcknowledged(b *testing.B, writers int) {
	c, e := ready(b), startEtcd(b)
	var ours, theirs time.Duration
	var degraded atomic.Int64
	n := 0
	for b.Loop() {
		n++
		ours += together(b, writers, func(i int) error {
			ack, err := c.heads["a"].r.Apply(context.Background(), state.Origin{}, put(b, state.KindInventory, fmt.Sprintf("m%d", i), n))
			if ack.Degraded != "" {
				degraded.Add(1)
			}
			return err
		})
		b.StopTimer()
		if e != nil {
			theirs += together(b, writers, func(i int) error { return e.put(0, fmt.Sprintf("m%d", i), fmt.Sprint(n)) })
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(n*round)/ours.Seconds(), "writes/s")
	b.ReportMetric(float64(degraded.Load()), "degraded")
	if e != nil {
		b.ReportMetric(float64(n*round)/theirs.Seconds(), "etcd-writes/s")
		b.ReportMetric(float64(theirs)/float64(ours), "x_etcd")
	}
}

// together shares a round of calls among writers.
func together(b *testing.B, writers int, f func(i int) error) time.Duration {
	start := time.Now()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for i := int(next.Add(1)); i <= round; i = int(next.Add(1)) {
				if err := f(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

const manyRecords = 40_000 // of 10,000 nodes: node, inventory, boot, lease

// benchRepair is what it takes to find and move one record that differs among many, that no push brought.
func benchRepair(b *testing.B) {
	c := ready(b)
	x, y := c.heads["a"], c.heads["b"]
	fill(b, x.db, manyRecords)
	c.await("equal with many", c.equal)
	bytes := func() int64 { return x.in.Load() + x.out.Load() + y.in.Load() + y.out.Load() }
	var moved []int64
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		p, err := x.r.peer("b")
		if err != nil {
			b.Fatal(err)
		}
		v := state.Version{Epoch: 1, HLC: state.HLCAt(time.Now()), Head: "elsewhere"}
		rec := state.Record{Key: state.Key{Kind: state.KindInventory, Name: fmt.Sprintf("node-%05d", i%manyRecords)}, Value: []byte(`"another"`), Version: v}
		if _, err := x.db.Merge(context.Background(), []state.Record{rec}); err != nil { // not followed, so not pushed
			b.Fatal(err)
		}
		before, start := bytes(), time.Now()
		if _, err := x.r.walk(context.Background(), p, nil); err != nil {
			b.Fatal(err)
		}
		moved, took = append(moved, bytes()-before), append(took, time.Since(start))
		if !c.equal() {
			b.Fatal("not equal after a walk")
		}
	}
	slices.Sort(moved)
	b.ReportMetric(float64(moved[len(moved)/2]), "median-bytes")
	reportTimes(b, "", took)
}

// benchFirstSync is the time until an empty head has everything, and the memory that it takes on each head.
func benchFirstSync(b *testing.B) {
	c := ready(b)
	empty := heap()
	fill(b, c.heads["a"].db, manyRecords)
	c.await("equal with many", c.equal)
	held := float64(heap()-empty) / float64(len(c.heads))
	y := c.heads["b"]
	for b.Loop() {
		b.StopTimer()
		c.kill("b")
		c.listen("b")
		if _, err := y.db.Reset(); err != nil {
			b.Fatal(err)
		}
		before := y.in.Load() + y.out.Load() + c.heads["a"].in.Load() + c.heads["a"].out.Load()
		b.StartTimer()
		if err := y.r.Sync(context.Background(), "a", nil); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if !c.equal() {
			b.Fatal("not equal after Sync")
		}
		b.ReportMetric(float64(y.in.Load()+y.out.Load()+c.heads["a"].in.Load()+c.heads["a"].out.Load()-before)/1e6, "MB-moved")
		c.run("b")
		b.StartTimer()
	}
	b.ReportMetric(held/1e6, "MB-memory")
}

// heap is the memory in use.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
