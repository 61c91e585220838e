package foreign

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"masthead/appliance/service"
)

// rm is the resource manager: what its services share, their failover domains, the services.
func (c *clusterReader) rm(e *element) {
	for _, name := range []string{"log_level", "log_facility", "status_child_max", "status_poll_interval", "transition_throttling", "disabled"} {
		value := e.get(name)
		switch {
		case value == "":
		case name == "disabled" && value != "0":
			c.no(e.first, "the resource manager is disabled: its services are written all the same")
		default:
			c.yes(e.first, "%s: not needed", name)
		}
	}
	for _, ch := range e.children {
		if ch.name == "resources" {
			c.shared = append(c.shared, ch.children...)
		}
	}
	for _, ch := range e.children {
		switch ch.name {
		case "resources":
		case "failoverdomains":
			for _, d := range ch.children {
				c.domain(d)
			}
		case "service":
			c.service(ch)
		case "vm":
			c.no(ch.first, "virtual machines are not services here; a script that starts one can be")
			c.lost(ch)
		case "events":
			c.no(ch.first, "there are no event scripts: a command alert of a monitor, or a script resource, can do it")
			c.lost(ch)
		default:
			c.no(ch.first, "%s: this is not known", ch.name)
			c.lost(ch)
		}
	}
	for _, r := range c.shared {
		if len(r.used) == 0 {
			c.no(r.first, "%s: no service uses this resource", r.name)
			c.lost(r)
		}
	}
}

func (c *clusterReader) domain(e *element) {
	if e.name != "failoverdomain" || e.get("name") == "" {
		c.no(e.first, "%s: this is no failover domain", e.name)
		c.lost(e)
		return
	}
	d := service.Domain{Name: safe(e.get("name"), "domain"), Ordered: yes(e.get("ordered")), Restricted: yes(e.get("restricted")), NoFailback: yes(e.get("nofailback"))}
	if d.Ordered && !d.NoFailback {
		c.no(e.first, "nobody falls back by himself here: masthead head switch")
	}
	type member struct {
		name     string
		priority int
	}
	var members []member
	for _, n := range e.children {
		name := short(n.get("name"))
		priority, err := strconv.Atoi(n.get("priority"))
		if n.get("priority") != "" && err != nil {
			c.no(n.first, "priority %q is no number", n.get("priority"))
		}
		if n.name != "failoverdomainnode" || n.get("name") == "" || slices.ContainsFunc(members, func(m member) bool { return m.name == name }) {
			c.no(n.first, "%s: this is no node of the domain, or is there twice", n.name)
			c.lost(n)
			continue
		}
		members = append(members, member{name, priority})
	}
	// The lower the number, the better.
	slices.SortStableFunc(members, func(a, b member) int { return cmp.Compare(a.priority, b.priority) })
	for _, m := range members {
		d.Heads = append(d.Heads, m.name)
	}
	if len(d.Heads) == 0 || slices.ContainsFunc(c.document.Domains, func(o service.Domain) bool { return o.Name == d.Name }) {
		c.no(e.first, "it has no nodes, or is there twice: left out")
		return
	}
	c.document.Domains = append(c.document.Domains, d)
}

// yes reads rgmanager's booleans.
func yes(s string) bool {
	switch strings.ToLower(s) {
	case "1", "yes", "true", "on":
		return true
	}
	return false
}
