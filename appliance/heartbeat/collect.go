package heartbeat

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"syscall"
	"time"
)

const (
	// collectEvery is how often Collect looks at the heap.
	collectEvery = 500 * time.Millisecond
	// collectAt is how many times as large as after the last collection the heap is when the next one is due: it has a few
	// megabytes, and memory is cheaper than looking for it often.
	collectAt = 5
	// collectFrom is a heap that is not worth it.
	collectFrom = 8 << 20
	// collectAnyway is so much memory that the runtime no longer waits for Collect: a program does not get started, as its disk
	// does not answer. All of it is locked, and the smallest head has a gigabyte.
	collectAnyway = 128 << 20
)

// Collect has Go's garbage collected, until ctx ends, only while no program is being started, and programs started only
// while none is collected. A collection stops all goroutines for a moment, and one that starts a program cannot be stopped
// before the kernel has taken the program over from its disk (vfork(2); syscall/exec_linux.go, rawVforkSyscall): the others
// wait for it, the heartbeats too. On a machine that has much to do, as it has while it starts, that lasted for seconds, and
// the other head took it for dead.
func Collect(ctx context.Context) {
	percent, limit := debug.SetGCPercent(-1), debug.SetMemoryLimit(collectAnyway)
	defer func() { debug.SetGCPercent(percent); debug.SetMemoryLimit(limit) }()
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		// A fork has the lock for writing. Who waited for it would have all later forks wait for one whose disk does not answer.
		if now, live := heap(); now >= max(collectFrom, collectAt*live) && syscall.ForkLock.TryRLock() {
			runtime.GC()
			syscall.ForkLock.RUnlock()
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// heap is how much memory objects have now, dead ones too, and how much those had that the last collection found alive.
func heap() (now, live uint64) {
	samples := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64(), samples[1].Value.Uint64()
}
