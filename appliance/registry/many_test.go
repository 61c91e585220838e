package registry

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"masthead/appliance/state"
	"masthead/images"
	"masthead/node/wire"
)

// manyNodes puts nodes n0, n1, … with inventories into a state that a registry follows, and lets them say hello.
func manyNodes(tb testing.TB, store state.Store, r *Registry, count int) {
	tb.Helper()
	for from := 0; from < count; from += 5000 {
		var ops []state.Op
		for i := from; i < min(count, from+5000); i++ {
			node, err := state.Put(state.KindNode, fmt.Sprintf("n%d", i), Record{MAC: mac(i), Approved: true, Image: "worker", Groups: []string{"rack1"}})
			if err != nil {
				tb.Fatal(err)
			}
			inv, err := state.Put(state.KindInventory, mac(i), inventoryOf(i))
			if err != nil {
				tb.Fatal(err)
			}
			ops = append(ops, node, inv)
		}
		ack, err := store.Apply(tb.Context(), admin, ops...)
		if err != nil {
			tb.Fatal(err)
		}
		for _, op := range ops {
			if err := r.take(state.Record{Key: op.Key, Value: op.Value, Version: ack.Version}); err != nil {
				tb.Fatal(err)
			}
		}
	}
	for i := range count {
		h := wire.Hello{Boot: "1", MAC: mac(i), Role: images.RoleWorker, Inventory: inventoryOf(i)}
		if _, err := r.Hello(tb.Context(), h, here, start); err != nil {
			tb.Fatal(err)
		}
	}
}

// inventoryOf is a usual server.
func inventoryOf(i int) wire.Inventory {
	inv := wire.Inventory{
		MACs: []string{mac(i), mac(i + 30000)}, UUID: fmt.Sprintf("4c4c4544-0000-1000-8000-%012x", i), Vendor: "Dell Inc.", Product: "PowerEdge R650",
		Serial: fmt.Sprintf("SN%07d", i), Firmware: "uefi", CPU: "Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz", CPUs: 128, MemoryMB: 524288, Kernel: "6.12.9-amd64",
	}
	for d := range 4 {
		inv.Disks = append(inv.Disks, wire.Disk{Name: fmt.Sprintf("nvme%dn1", d), Bytes: 1_920_383_410_176, Model: "SAMSUNG MZQL21T9HCJR-00A07"})
	}
	return inv
}

// BenchmarkReports is what ten thousand nodes cost that report every ten seconds: the figure cpu-ms/s is that of one
// second, with its sweep and its write.
func BenchmarkReports(b *testing.B) {
	const nodes, interval = 10_000, 10
	store := openState(b, b.TempDir())
	now := start
	r, err := New(Config{Store: store, Image: resolveTest, Head: "head-1", Now: func() time.Time { return now }})
	if err != nil {
		b.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	manyNodes(b, store, r, nodes)
	reports := make([]wire.Report, nodes)
	for i := range reports {
		reports[i] = wire.Report{Boot: "1", MAC: mac(i), Uptime: 100, Stages: results("mounts", "modules", "network", "hello", "root", "handover", "up"), Running: imageA,
			Root: &wire.RootStatus{Source: "head-1", Chunks: 100, Present: 100}}
		if err := r.Report(reports[i], now); err != nil {
			b.Fatal(err)
		}
	}
	if err := r.SaveSummaries(b.Context()); err != nil {
		b.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	cpu := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	began, second := cpu(), 0
	for b.Loop() {
		now = now.Add(time.Second)
		for i := second % interval; i < nodes; i += interval {
			reports[i].Uptime++
			if err := r.Report(reports[i], now); err != nil {
				b.Fatal(err)
			}
		}
		if second%2 == 0 {
			r.Sweep(now)
			if err := r.SaveSummaries(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		second++
	}
	b.ReportMetric(float64((cpu()-began).Microseconds())/1000/float64(second), "cpu-ms/s")
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB")
}

// BenchmarkDiscover is one machine more among ten thousand.
func BenchmarkDiscover(b *testing.B) {
	for _, auto := range []bool{false, true} {
		b.Run(fmt.Sprintf("auto=%t", auto), func(b *testing.B) {
			r := newRegistry(b, openState(b, b.TempDir()))
			for i := range 9_000 {
				rec := Record{Name: nodeName("n%02d", i+1), MAC: mac(i), Approved: auto}
				r.nodes[rec.Name] = entry{Record: rec}
				r.byMAC.add(rec.MAC, rec.Name, r.keeps)
				if !auto {
					r.waiting++
				}
			}
			r.settings.AutoApprove = auto
			r.NextName()
			n := 0
			for b.Loop() {
				r.mu.Lock()
				if auto {
					if r.nextName(false) == "" {
						b.Fatal("no name")
					}
				} else if r.waiting >= maxDiscovered {
					b.Fatal("full")
				}
				r.mu.Unlock()
				n++
			}
		})
	}
}
