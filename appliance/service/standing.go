package service

import (
	"net/netip"

	"masthead/appliance/failover"
)

// States of a service and of a resource, as clustat(8) shows them. Unknown is a resource that nobody has looked at yet.
const (
	StateStarted    = "started"
	StateStarting   = "starting"
	StateStopping   = "stopping"
	StateStopped    = "stopped"
	StateDisabled   = "disabled"
	StateFailed     = "failed"
	StateRecovering = "recovering"
	StateUnknown    = "unknown"
)

// note brings the states that people see up to date, and settled.
func (p *plan) note(now failover.Instant, ready map[*entry]bool) {
	settled := true
	for _, e := range p.entries {
		state, _ := p.stateOf(e, ready)
		if state != e.state {
			e.state, e.since = state, now
		}
		settled = settled && p.still(e, ready)
	}
	if p.asked && p.want == failover.Run && settled {
		p.settled = true
	}
}

// answering are the addresses that run, and those that ran when the daemon was started, until they have been looked at.
func (p *plan) answering() (list []netip.Addr) {
	for _, e := range p.entries {
		for i, r := range e.service.Resources {
			if a := &e.parts[i]; r.IP != nil && (a.condition == running || a.condition == unknown && a.ours) {
				list = append(list, r.IP.Address.Addr())
			}
		}
	}
	return list
}

// still: nothing more will happen with it by itself.
func (p *plan) still(e *entry, ready map[*entry]bool) bool {
	switch {
	case e.retired:
		return false
	case ready[e]:
		return e.runs()
	case !e.down():
		return false
	case !p.wanted(e):
		return !p.predecessor(e)
	}
	for _, name := range e.service.After {
		if d := p.find(name); d == nil || p.still(d, ready) && !(ready[d] && d.runs()) {
			return true // what it waits for will not come
		}
	}
	return false
}

// stateOf is the state of a service, and the reason for it where it is not as wished.
func (p *plan) stateOf(e *entry, ready map[*entry]bool) (state, reason string) {
	for i := range e.parts {
		if a := &e.parts[i]; a.condition == stuck {
			return StateFailed, e.service.Resources[i].Label() + ": stop: " + a.reason
		}
	}
	switch {
	case !e.known():
		return StateUnknown, ""
	case !p.asked && e.runs():
		return StateStarted, ""
	case !e.down() && !ready[e]:
		return StateStopping, e.failed
	case ready[e] && e.runs():
		return StateStarted, ""
	case ready[e] && len(e.failures) > 0:
		return StateRecovering, p.lastReason(e)
	case ready[e]:
		return StateStarting, ""
	case e.givenUp():
		return StateDisabled, e.failed
	case e.failed != "":
		return StateFailed, e.failed
	case e.wish == Disabled:
		return StateDisabled, ""
	case e.wish == Stopped:
		return StateStopped, ""
	case !p.asked || p.want == failover.Stop:
		return StateStopped, ""
	case e.barred != "":
		return StateStopped, e.barred
	}
	for _, name := range e.service.After {
		if d := p.find(name); d != nil && !(ready[d] && d.runs()) {
			state, _ := p.stateOf(d, ready)
			return StateStopped, "waits for " + name + ", which is " + state
		}
	}
	return StateStopped, ""
}

// lastReason is why a service that recovers has failed.
func (p *plan) lastReason(e *entry) string {
	for i := range e.parts {
		if r := e.parts[i].reason; r != "" {
			return e.service.Resources[i].Label() + ": " + r
		}
	}
	return ""
}

// partState is the state of a resource.
func (e *entry) partState(i int) (state, reason string) {
	a := &e.parts[i]
	switch {
	case a.condition == stuck:
		return StateFailed, "stop: " + a.reason
	case a.busy == start:
		return StateStarting, a.reason
	case a.busy == stop:
		return StateStopping, a.reason
	case a.condition == unknown:
		return StateUnknown, ""
	case a.condition == running:
		return StateStarted, ""
	case a.condition == broken:
		return StateFailed, a.reason
	}
	return StateStopped, a.reason
}
