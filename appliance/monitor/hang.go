package monitor

import (
	"context"
	"sync/atomic"
	"time"
)

// letGo is how long a check may take to return after its time was up.
const letGo = time.Second

// abandoning returns soon after ctx ends also where the question does not: a program that waits for a dead file server, and
// a read in /proc of such a process, hang in the kernel where no signal reaches them. What is left behind keeps the
// question to itself until it comes back; until then the answer is unknown. It is the only goroutine that outlives Run.
func abandoning(ask probe) probe {
	var busy atomic.Bool
	return func(ctx context.Context) Result {
		if !busy.CompareAndSwap(false, true) {
			return unknown("an earlier check still hangs")
		}
		done := make(chan Result, 1)
		go func() {
			r := ask(ctx)
			busy.Store(false)
			done <- r
		}()
		select {
		case r := <-done:
			return r
		case <-ctx.Done():
		}
		late := time.NewTimer(letGo)
		defer late.Stop()
		select {
		case r := <-done:
			return r
		case <-late.C:
			return unknown("the check hangs, and cannot be ended")
		}
	}
}
