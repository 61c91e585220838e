package ownership

import (
	"sync"
	"time"

	"masthead/appliance/failover"
)

// history is what this head saw of who owned, for people and for the services' environment. It may be read from any
// goroutine.
type history struct {
	mu     sync.Mutex
	self   string
	now    string // the owner
	epoch  failover.Epoch
	since  time.Time
	reason string
	before string // the owner before
	active bool   // this head owns, and its services have started
	gen64  uint64
}

// note takes in what a decision and the heartbeats say of the owner.
func (h *history) note(c Config, next failover.Decision, owner string, started bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.self, h.gen64 = c.Self, next.Record.ClusterGen
	h.active = next.Memory.Phase == failover.Active && started
	if owner != h.now {
		if h.now != "" {
			h.before = h.now
		}
		h.now, h.since = owner, time.Now().UTC()
		h.reason = ""
		if owner != "" {
			h.reason = next.Why.Summary
		}
	}
	if next.Record.Epoch > h.epoch {
		h.epoch = next.Record.Epoch
	}
}

func (h *history) isOwner() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.active
}

func (h *history) owner() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *history) gen() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.gen64
}

func (h *history) epochText() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.epoch.String()
}
