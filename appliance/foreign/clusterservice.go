package foreign

import (
	"cmp"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"masthead/appliance/service"
)

// order is that in which rgmanager starts resources that lie beside one another (service.sh, fs.sh: child type, start).
func order(kind string) int {
	i := slices.Index([]string{"lvm", "fs", "clusterfs", "netfs", "nfsexport", "nfsclient", "ip", "smb", "script"}, kind)
	if i < 0 {
		return 100
	}
	return i
}

func (c *clusterReader) service(e *element) {
	s := service.Service{Name: safe(e.get("name"), "service")}
	if e.get("name") == "" || slices.ContainsFunc(c.document.Services, func(o service.Service) bool { return o.Name == s.Name }) {
		c.no(e.first, "the service has no name, or one that is there twice: left out")
		c.lost(e)
		return
	}
	if auto := e.get("autostart"); auto != "" && !yes(auto) {
		no := false
		s.Autostart = &no
	}
	c.recovery(e, &s)
	if d := e.get("domain"); d != "" {
		if slices.ContainsFunc(c.document.Domains, func(o service.Domain) bool { return o.Name == safe(d, "domain") }) {
			s.Domain = safe(d, "domain")
		} else {
			c.no(e.first, "there is no failover domain %s", d)
		}
	}
	if yes(e.get("exclusive")) {
		c.no(e.first, "exclusive: all services follow the one owner")
	}
	if after := e.get("depend"); after != "" {
		after = strings.TrimPrefix(after, "service:")
		if slices.ContainsFunc(c.document.Services, func(o service.Service) bool { return o.Name == safe(after, "service") }) {
			s.After = []string{safe(after, "service")}
		} else {
			c.no(e.first, "depend: there is no service %s above", after)
		}
		e.get("depend_mode")
	}
	c.resources(&s, e, "")
	if len(s.Resources) == 0 {
		c.no(e.first, "service %s has no resource that was understood: left out", s.Name)
		return
	}
	c.document.Services = append(c.document.Services, s)
	c.yes(e.first, "service %s", s.Name)
}

func (c *clusterReader) recovery(e *element, s *service.Service) {
	switch r := e.get("recovery"); r {
	case "", service.Restart, service.Relocate, service.Disable:
		s.Recovery = r
	case "restart-disable":
		s.Recovery = service.Restart
		c.no(e.first, "recovery %s: after the last restart another head takes over", r)
	default:
		c.no(e.first, "recovery %q is none", r)
	}
	if text := e.get("max_restarts"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > 1000000 {
			c.no(e.first, "max_restarts %q is no number", text)
		} else if s.MaxRestarts = n; n == 0 {
			s.MaxRestarts = -1 // rgmanager: no limit
		}
	}
	if text := e.get("restart_expire_time"); text != "" && text != "0" {
		if d, ok := number(text, time.Second); ok {
			s.RestartWithin = d
		} else {
			c.no(e.first, "restart_expire_time %q is no number of seconds", text)
		}
	}
}

// resources appends what lies in an element, each before what lies in it: a child starts after its parent. mount is the
// path of the file system around it.
func (c *clusterReader) resources(s *service.Service, e *element, mount string) {
	children := slices.Clone(e.children)
	slices.SortStableFunc(children, func(a, b *element) int { return cmp.Compare(order(a.name), order(b.name)) })
	if !slices.Equal(children, e.children) {
		c.yes(e.first, "in the order in which rgmanager starts them: file systems, addresses, scripts")
	}
	for _, ch := range children {
		if ch.name == "action" {
			continue // its parent's
		}
		attrs := c.attributes(ch)
		if attrs == nil {
			continue
		}
		res, inside, ok := c.resource(ch, attrs, mount)
		attrs.leftOver(c)
		if ok && slices.ContainsFunc(c.document.Services, func(o service.Service) bool {
			return slices.ContainsFunc(o.Resources, func(x service.Resource) bool { return same(x, res) })
		}) || slices.ContainsFunc(s.Resources, func(x service.Resource) bool { return same(x, res) }) {
			c.no(ch.first, "%s is in a service already: left out", describe(res))
			ok = false
		}
		if ok {
			c.actions(ch, &res)
			c.addNamed(ch.first, s, res)
		} else {
			for _, a := range ch.children {
				if a.name == "action" {
					c.quiet(a)
				}
			}
		}
		if !ok && len(ch.children) > 0 {
			c.yes(ch.first, "what lies in it is started all the same")
		}
		c.resources(s, ch, inside)
	}
}

// attributes are those of a resource, and of the shared one that it refers to.
type attributes struct {
	own, shared *element
}

func (c *clusterReader) attributes(e *element) *attributes {
	a := &attributes{own: e}
	ref := e.get("ref")
	if ref == "" {
		return a
	}
	for _, r := range c.shared {
		key := "name"
		if r.name == "ip" {
			key = "address"
		}
		if r.name == e.name && r.all()[key] == ref {
			a.shared = r
			r.get(key)
			return a
		}
	}
	c.no(e.first, "there is no %s %q among the resources", e.name, ref)
	c.lost(e)
	return nil
}

// get is an attribute, the resource's own before that of the shared one.
func (a *attributes) get(name string) string {
	value := a.own.get(name)
	if a.shared != nil {
		if other := a.shared.get(name); value == "" {
			value = other
		}
	}
	return value
}

// leftOver takes attributes that mean nothing here.
func (a *attributes) leftOver(c *clusterReader) {
	for _, e := range []*element{a.own, a.shared} {
		if e == nil {
			continue
		}
		for _, attr := range e.rest() {
			if name := attr.Name.Local; strings.HasPrefix(name, "__") {
				e.used[name] = true
				c.no(e.first, "%s: a resource that fails is the whole service's failure", name)
			}
		}
	}
}

// actions are the intervals and timeouts of a resource.
func (c *clusterReader) actions(e *element, res *service.Resource) {
	for _, a := range e.children {
		if a.name != "action" {
			continue
		}
		name := a.get("name")
		interval, okInterval := number(a.get("interval"), time.Second)
		timeout, okTimeout := number(a.get("timeout"), time.Second)
		if depth := a.get("depth"); depth != "" && depth != "0" && depth != "*" {
			c.no(a.first, "depth %s: there is one kind of check", depth)
		}
		switch {
		case name == "status" || name == "monitor":
			if okInterval && interval > 0 && (res.Interval == 0 || interval < res.Interval) {
				res.Interval = interval
			}
			if okTimeout {
				res.CheckTimeout = timeout
			}
		case name == "start" && okTimeout:
			res.StartTimeout = timeout
		case name == "stop" && okTimeout:
			res.StopTimeout = timeout
		default:
			c.no(a.first, "action %q: not used", name)
		}
	}
}

// resource makes one of an element; inside is the path of the file system for what lies in it.
func (c *clusterReader) resource(e *element, a *attributes, mount string) (res service.Resource, inside string, ok bool) {
	name := a.get("name")
	if name != "" {
		res.Name = safe(name, "resource")
	}
	inside = mount
	switch e.name {
	case "ip":
		return c.ip(e, a)
	case "script":
		file := a.get("file")
		if !path.IsAbs(file) {
			c.no(e.first, "script %q is no absolute path", file)
			return res, inside, false
		}
		a.get("service_name")
		res.Script = &service.Script{File: file}
		if unit := debianUnit(path.Base(file)); unit != "" && strings.HasPrefix(file, "/etc/init.d/") {
			c.yes(e.first, "%s must be on the heads; where systemd runs it, write unit: {name: %s}", file, unit)
		}
		return res, inside, true
	case "fs", "netfs":
		return c.filesystem(e, a, res)
	case "nfsclient":
		return c.nfsclient(e, a, res, mount)
	case "nfsexport", "nfsserver":
		c.yes(e.first, "%s: the NFS server must run on the heads (unit: {name: nfs-kernel-server.service})", e.name)
		a.get("nfspath")
		return res, inside, false
	case "clusterfs":
		c.no(e.first, "a file system that several heads mount at once (GFS) is not supported; one that follows the owner is")
	case "lvm":
		c.no(e.first, "write it as ocf: {agent: ocf:heartbeat:LVM-activate, params: {vgname: %s, vg_access_mode: system_id}}", a.get("vg_name"))
	default:
		c.no(e.first, "%s: write it as a unit, a script or an OCF agent", e.name)
	}
	for _, x := range []*element{a.own, a.shared} {
		if x != nil {
			for _, attr := range x.attrs {
				x.used[attr.Name.Local] = true
			}
		}
	}
	return res, inside, false
}

func (c *clusterReader) ip(e *element, a *attributes) (res service.Resource, inside string, ok bool) {
	text := a.get("address")
	p, whole, ok := address(text)
	if !ok {
		c.no(e.first, "%q is no address", text)
		return res, "", false
	}
	res.IP = &service.IP{Address: p}
	if !whole {
		c.yes(e.first, "%s: the length of the prefix is not written, and is taken for %s, which works on the network that the heads are in", text, p)
	}
	// rgmanager's default is 1.
	link := a.get("monitor_link")
	res.IP.MonitorLink = link == "" || yes(link)
	if nic := a.get("prefer_interface"); nic != "" {
		if nicForm.MatchString(nic) {
			res.IP.NIC = nic
		} else {
			c.no(e.first, "%q is no network card", nic)
		}
	}
	if a.get("sleeptime") != "" || a.get("disable_rdisc") != "" {
		c.yes(e.first, "nothing is waited for after the address was removed")
	}
	if a.get("family") != "" || a.get("nfslock") != "" {
		c.yes(e.first, "not needed")
	}
	return res, "", true
}
