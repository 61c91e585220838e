package chunks

import (
	"context"
	"sync"
	"time"
)

// gate lets background work pass only while nothing more urgent goes on. The zero gate is open.
type gate struct {
	mu   sync.Mutex
	busy int
	last time.Time     // when it became idle
	idle chan struct{} // closed when it does; nil if nobody waits
}

// enter begins urgent work, leave ends it.
func (g *gate) enter() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.busy++
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.busy--; g.busy == 0 {
		g.last = time.Now()
		if g.idle != nil {
			close(g.idle)
			g.idle = nil
		}
	}
}

// wait blocks until there has been no urgent work for as long as quiet, or ctx ends.
func (g *gate) wait(ctx context.Context, quiet time.Duration) error {
	for {
		idle, rest := g.state(quiet)
		if idle == nil && rest <= 0 {
			return ctx.Err()
		}
		var after <-chan time.Time
		if idle == nil {
			t := time.NewTimer(rest)
			defer t.Stop()
			after = t.C
		}
		select {
		case <-idle:
		case <-after:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// state gives the channel to wait on while the gate is busy, else how much of quiet is left.
func (g *gate) state(quiet time.Duration) (idle <-chan struct{}, rest time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.busy == 0 {
		return nil, quiet - time.Since(g.last)
	}
	if g.idle == nil {
		g.idle = make(chan struct{})
	}
	return g.idle, 0
}
