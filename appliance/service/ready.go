package service

import (
	"slices"

	"masthead/appliance/failover"
)

// wanted: it is to run here, whatever else does.
func (p *plan) wanted(e *entry) bool {
	return p.asked && p.want == failover.Run && !e.retired && e.wish == Enabled && e.barred == "" && e.failed == "" && !p.predecessor(e)
}

// predecessor: a former version of the service, or one that had some of its resources, has not stopped yet.
func (p *plan) predecessor(e *entry) bool {
	return slices.ContainsFunc(p.entries, func(x *entry) bool { return x.retired && x.born < e.born && overlap(x.service, e.service) })
}

// ready are the services that may run now: those wanted whose dependencies are, and run.
func (p *plan) ready() map[*entry]bool {
	memo := make(map[*entry]bool, len(p.entries))
	var visit func(e *entry) bool
	visit = func(e *entry) bool {
		r, ok := memo[e]
		if ok {
			return r
		}
		memo[e] = false // no cycle passes Validate; one would never be ready
		r = p.wanted(e)
		for _, name := range e.service.After {
			if !r {
				break
			}
			d := p.find(name)
			r = d != nil && visit(d) && d.runs()
		}
		memo[e] = r
		return r
	}
	for _, e := range p.entries {
		visit(e)
	}
	return memo
}

// find gives the service of that name that is configured now.
func (p *plan) find(name string) *entry {
	i := slices.IndexFunc(p.entries, func(e *entry) bool { return !e.retired && e.service.Name == name })
	if i < 0 {
		return nil
	}
	return p.entries[i]
}

func (p *plan) dependenciesKnown(e *entry) bool {
	for _, name := range e.service.After {
		if d := p.find(name); d != nil && !p.predecessor(d) && (!d.known() || !p.dependenciesKnown(d)) {
			return false
		}
	}
	return true
}

// dependentsStopped: nothing that is after e runs any more.
func (p *plan) dependentsStopped(e *entry) bool {
	for _, x := range p.entries {
		if x != e && slices.Contains(x.service.After, e.service.Name) && !x.down() {
			return false
		}
	}
	return true
}
