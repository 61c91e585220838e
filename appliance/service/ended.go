package service

import (
	"fmt"
	"slices"
	"time"

	"masthead/appliance/failover"
)

// verdict is what a check found.
type verdict uint8

const (
	unclear verdict = iota // it cannot be checked
	up
	down
	bad    // neither up nor down as it should be
	absent // what it would be checked with is not there
)

// result is how an operation ended.
type result struct {
	verdict verdict // of a check
	err     error   // of a start or a stop; why, of a check that is not up
	cut     bool    // it was broken off
	// clean: a start that failed has done nothing.
	clean bool
	// hard: another try on this head is of no use. fatal: nor is one on another.
	hard, fatal bool
}

// ended takes the result of an operation.
func (p *plan) ended(act action, r result, now failover.Instant) {
	e, a := act.entry, &act.entry.parts[act.part]
	ready := p.ready()[e]
	a.busy, a.told, a.unwanted = none, false, 0
	switch act.op {
	case check:
		p.checked(e, a, act, r, ready, now)
	case start:
		switch {
		case r.err == nil && (p.want != failover.Run || a.epoch == p.epoch):
			a.become(running, "", now)
			a.due = now + a.every
		case r.err == nil:
			a.become(broken, "was started under an earlier epoch", now)
		case r.clean:
			a.become(stopped, r.err.Error(), now)
			a.ours = false
		default:
			a.become(broken, r.err.Error(), now)
		}
		if r.err != nil && !r.cut && ready {
			p.fail(e, act, r, now)
		}
	case stop:
		switch {
		case r.err == nil:
			a.become(stopped, a.reason, now)
			a.ours = false
		case r.cut || !a.ours:
			a.become(broken, r.err.Error(), now)
			a.due = now + retryStop
		default:
			a.become(stuck, r.err.Error(), now)
			a.due = now + retryStop
		}
	}
}

func (p *plan) checked(e *entry, a *part, act action, r result, ready bool, now failover.Instant) {
	reason := ""
	if r.err != nil {
		reason = r.err.Error()
	}
	switch {
	case a.condition == unknown && r.cut:
	case a.condition == unknown:
		v := r.verdict
		if a.ours && v == unclear {
			v = up
		}
		switch {
		case v == up && a.ours && (!p.asked || p.want == failover.Stop || a.epoch == p.epoch):
			a.become(running, "", now)
			a.due = now + a.every
		case v == up && a.ours:
			a.become(broken, "runs from an earlier epoch", now)
		case v == up:
			a.become(broken, "runs, and was not started for this service", now)
		case v == bad, v == absent && a.ours:
			a.become(broken, reason, now)
		default:
			a.become(stopped, "", now)
			a.ours = false
		}
	case a.condition != running:
	case r.cut, r.verdict == up, r.verdict == unclear:
		a.due = now + a.every
	default:
		a.become(broken, reason, now)
		if ready {
			p.fail(e, act, r, now)
		}
	}
}

func (a *part) become(c condition, reason string, now failover.Instant) {
	if a.condition != c {
		a.since = now
	}
	a.condition, a.reason, a.due = c, reason, 0
}

// fail decides what becomes of a service of which a resource has failed.
func (p *plan) fail(e *entry, act action, r result, now failover.Instant) {
	within := e.service.RestartWithin
	if within == 0 {
		within = DefaultRestartWithin
	}
	most := e.service.MaxRestarts
	if most == 0 {
		most = DefaultMaxRestarts
	}
	e.failures = append(slices.DeleteFunc(e.failures, func(t failover.Instant) bool { return t+within <= now }), now)
	if len(e.failures) > 1000 {
		e.failures = e.failures[1:] // restarts without end
	}
	reason := fmt.Sprintf("%s: %s: %v", e.service.Resources[act.part].Label(), act.op, r.err)
	n := len(e.failures)
	switch {
	case r.fatal:
		e.failed = reason
	case e.service.Recovery == Disable:
		e.failed = reason
	case e.service.Recovery == Relocate, r.hard:
		e.failed, e.leave = reason, e.elsewhere
	case most > 0 && n > most:
		e.failed, e.leave = fmt.Sprintf("%s; failed %d times within %v", reason, n, within), e.elsewhere
	case n > 1:
		e.pause = now + min(pauseFirst<<min(n-2, 10), pauseMost)
	}
}

// services is how all of them stand.
func (p *plan) services(now failover.Instant) failover.Services {
	known, alldown, ours, waits, given, tried := true, true, false, false, 0, 0
	for _, e := range p.entries {
		known = known && e.known()
		alldown = alldown && e.down()
		if !e.retired && e.wish == Enabled && e.barred == "" && !e.givenUp() {
			tried++
			if e.failed != "" {
				given++
			}
		}
		for i := range e.parts {
			a := &e.parts[i]
			// An operation that has not ended, though its processes were killed, hangs in the kernel.
			hangs := a.busy != none && now > a.deadline
			if a.condition == stuck || hangs && a.ours {
				return failover.ServicesStopFailed
			}
			waits = waits || hangs
			ours = ours || a.condition == running && a.ours
			waits = waits || a.condition == broken && a.due > now
		}
	}
	switch {
	case alldown && (!p.asked || p.want == failover.Stop):
		return failover.ServicesStopped
	case !p.asked && known && ours:
		return failover.ServicesStarted // by an earlier run of the daemon
	case waits && (!p.asked || p.want == failover.Stop):
		return failover.ServicesFailed
	case p.want == failover.Stop:
		return failover.ServicesStopping
	case !p.settled:
		return failover.ServicesStarting
	case tried > 0 && given == tried:
		return failover.ServicesFailed
	}
	return failover.ServicesStarted
}

// relocate is why another head should own; empty: nothing asks for it.
func (p *plan) relocate() string {
	for _, e := range p.entries {
		if e.leave && !e.retired && e.wish == Enabled {
			return "service " + e.service.Name + ": " + e.failed
		}
	}
	return ""
}

// limit is how long an operation may take.
func (r Resource) limit(o op) time.Duration {
	set, def := r.CheckTimeout, DefaultCheck
	switch o {
	case start:
		set, def = r.StartTimeout, DefaultStart
		if r.Data != nil {
			def = DefaultFill
		}
	case stop:
		set, def = r.StopTimeout, DefaultStop
	}
	if set > 0 {
		return set
	}
	return def
}

// every is the time between two checks; 0: none.
func (r Resource) every() time.Duration {
	switch {
	case r.Interval < 0:
		return 0
	case r.Interval > 0:
		return r.Interval
	case r.IP != nil:
		return DefaultLinkInterval
	}
	return DefaultInterval
}
