package service

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
)

// configure makes services the configuration. Those that are new begin unknown; those that are gone, or whose resources
// are others, stop; of the rest only what is said about them changes.
func (p *plan) configure(services []Service, barred func(Service) (here string, elsewhere bool)) {
	old := p.entries
	p.entries = nil
	for _, e := range old {
		if e.retired {
			p.entries = append(p.entries, e)
		}
	}
	for _, s := range services {
		i := slices.IndexFunc(old, func(e *entry) bool { return !e.retired && e.service.Name == s.Name })
		var e *entry
		if i >= 0 && sameResources(old[i].service, s) {
			e = old[i]
			if !same(e.service, s) {
				p.clear(e)
			}
			e.service = s
		} else {
			e = p.entry(s)
		}
		for j := range e.parts {
			e.parts[j].every = s.Resources[j].every()
		}
		e.barred, e.elsewhere = barred(s)
		p.entries = append(p.entries, e)
	}
	for _, e := range old {
		if !slices.Contains(p.entries, e) && !e.untouched() {
			e.retired = true
			p.entries = append(p.entries, e)
		}
	}
	p.untangle()
}

// untangle drops what former versions of services were after, where that and the new configuration make a cycle: in it
// nothing could stop.
func (p *plan) untangle() {
	after := map[string][]string{}
	var names []string
	for _, e := range p.entries {
		name := e.service.Name
		if _, ok := after[name]; !ok {
			names = append(names, name)
		}
		after[name] = append(after[name], e.service.After...)
	}
	all := make([]Service, len(names))
	for i, name := range names {
		all[i] = Service{Name: name, After: after[name]}
	}
	if cycleOf(all) == nil {
		return
	}
	for _, e := range p.entries {
		if e.retired {
			e.service.After = nil
		}
	}
}

func (p *plan) entry(s Service) *entry {
	p.born++
	e := &entry{service: s, born: p.born, parts: make([]part, len(s.Resources)), state: StateUnknown}
	for i, r := range s.Resources {
		e.parts[i].every = r.every()
	}
	return e
}

// sameResources: the same things are started in the same order. How long that may take is another matter.
func sameResources(a, b Service) bool {
	return slices.EqualFunc(a.Resources, b.Resources, func(x, y Resource) bool {
		for _, r := range []*Resource{&x, &y} {
			r.Name = r.Label()
			r.StartTimeout, r.StopTimeout, r.CheckTimeout, r.Interval = 0, 0, 0, 0
		}
		return same(x, y)
	})
}

// same compares as the record has it, where an empty list and none are one.
func same(a, b any) bool {
	x, err := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err == nil && err2 == nil && bytes.Equal(x, y)
}

// overlap: both have a name or a resource in common, so that to stop one would stop the other.
func overlap(a, b Service) bool {
	return a.Name == b.Name || slices.ContainsFunc(a.Resources, func(x Resource) bool {
		return slices.ContainsFunc(b.Resources, func(y Resource) bool { return x.identity() == y.identity() })
	})
}

// identity is what a resource is on a machine: two with the same one are the same thing.
func (r Resource) identity() string {
	switch {
	case r.IP != nil:
		return "ip " + r.IP.Address.Addr().String()
	case r.Unit != nil:
		return "unit " + r.Unit.full()
	case r.Script != nil:
		return fmt.Sprintf("script %q %q %q", r.Script.File, r.Script.Args, r.Script.Start)
	case r.OCF != nil:
		return fmt.Sprintf("ocf %s %v", r.OCF.Agent, r.OCF.Params)
	case r.Data != nil:
		return "data " + r.Data.Volume
	case r.Filesystem != nil:
		return "filesystem " + filepath.Clean(r.Filesystem.Path)
	}
	return ""
}
