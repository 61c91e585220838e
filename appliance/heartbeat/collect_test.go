package heartbeat

import (
	"context"
	"runtime/metrics"
	"syscall"
	"testing"
	"time"
)

// collections are how many there have been; it does not stop the world as runtime.ReadMemStats does.
func collections() uint64 {
	sample := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

var garbage []byte

// TestCollect: as long as a program is being started nothing is collected, however much garbage there is, and then it is.
func TestCollect(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); Collect(ctx) }()
	defer func() { cancel(); <-done }()
	litter := func() {
		for range 24 { // three times that stays below collectAnyway
			garbage = make([]byte, 1<<20)
		}
	}
	await(t, "a collection while nothing is allocated, which is taken for alive", func() bool {
		litter()
		time.Sleep(2 * collectEvery)
		_, live := heap()
		return collections() > 0 && live < collectFrom/2
	})

	syscall.ForkLock.Lock() // as a fork does
	before := collections()
	for range 3 {
		litter()
		time.Sleep(collectEvery)
	}
	during := collections() - before
	waiting, _ := heap()
	syscall.ForkLock.Unlock()
	if during != 0 {
		t.Errorf("%d collections while a program was being started", during)
	}
	await(t, "what was not collected meanwhile", func() bool { now, _ := heap(); return collections() > before && now < waiting/2 })
}
