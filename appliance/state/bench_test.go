package state

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// benchNodes is the size of a large cluster. Each node has four records: itself, its inventory, its last boot and its
// lease.
const benchNodes = 10_000

func largeOps(tb testing.TB) [][]Op {
	tb.Helper()
	op := func(kind Kind, name string, v any) Op {
		op, err := Put(kind, name, v)
		if err != nil {
			tb.Fatal(err)
		}
		return op
	}
	var all [][]Op
	for i := range benchNodes {
		if i%2000 == 0 {
			all = append(all, nil)
		}
		mac := fmt.Sprintf("52:54:00:%02x:%02x:%02x", i>>16, i>>8&255, i&255)
		all[len(all)-1] = append(all[len(all)-1],
			op(KindNode, fmt.Sprintf("n%05d", i), map[string]any{"mac": mac, "image": "worker", "groups": []string{"rack1", "gpu"}, "approved": true}),
			op(KindInventory, mac, map[string]any{"cpus": 64, "memory": 256 << 30, "disks": strings.Repeat("/dev/nvme0n1 1.9T serial; ", 40)}),
			op(KindBoot, mac, map[string]any{"boot": fmt.Sprint(i), "image": strings.Repeat("0123456789abcdef", 4), "stages": strings.Repeat("stage 12.3 ", 20)}),
			op(KindLease, fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), map[string]any{"mac": mac, "node": fmt.Sprintf("n%05d", i)}),
		)
	}
	return all
}

func heap() uint64 {
	runtime.GC()
	runtime.GC() // what a finalizer held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkLarge measures a state of 10,000 nodes: how long it takes to open, what it holds of memory, and what one
// write and the hash after it cost.
func BenchmarkLarge(b *testing.B) {
	dir := b.TempDir()
	d, err := Open(Config{Dir: dir, Head: "head-1"})
	if err != nil {
		b.Fatal(err)
	}
	for _, ops := range largeOps(b) {
		if _, err := d.Apply(b.Context(), Origin{}, ops...); err != nil {
			b.Fatal(err)
		}
	}
	d.Close()
	st, err := os.Stat(filepath.Join(dir, fileName))
	if err != nil {
		b.Fatal(err)
	}
	d = nil
	before := heap()
	if d, err = Open(Config{Dir: dir, Head: "head-1"}); err != nil {
		b.Fatal(err)
	}
	d.Summary()
	memory := heap() - before
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			d.Close()
			if d, err = Open(Config{Dir: dir, Head: "head-1"}); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(memory)/(1<<20), "MiB-held")
		b.ReportMetric(float64(st.Size())/(1<<20), "MiB-on-disk")
		b.ReportMetric(float64(d.Summary().Records), "records")
	})
	defer d.Close()
	n := 0
	write := func(b *testing.B) {
		n++
		op, err := Put(KindLease, "10.0.0.1", n)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := d.Apply(context.Background(), Origin{}, op); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("summary after a change", func(b *testing.B) {
		for i := 0; i < b.N; i++ {
			b.StopTimer()
			write(b)
			b.StartTimer()
			d.Summary()
		}
	})
	b.Run("write", func(b *testing.B) {
		for b.Loop() {
			write(b)
		}
	})
	b.Run("summary from nothing", func(b *testing.B) {
		for b.Loop() {
			for i := range d.index.tree.dirty {
				d.index.tree.dirty[i] = ^uint64(0)
			}
			d.Summary()
		}
	})
	b.Run("merge of 40,000 records", func(b *testing.B) {
		records := everything(b, d)
		batch := EncodeBatch(records)
		for b.Loop() {
			b.StopTimer()
			to, err := Open(Config{Dir: b.TempDir(), Head: "head-2"})
			if err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			records, err := DecodeBatch(batch)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := to.Merge(b.Context(), records); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			if to.Summary().Root != d.Summary().Root {
				b.Fatal("the roots differ")
			}
			to.Close()
			b.StartTimer()
		}
		b.SetBytes(int64(len(batch)))
	})
}
