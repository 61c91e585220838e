package foreign

import (
	"slices"
	"strings"

	"masthead/appliance/fence"
)

// fenceDevice is one of fencedevices.
func (c *clusterReader) fenceDevice(e *element) {
	name := e.get("name")
	if e.name != "fencedevice" || name == "" {
		c.no(e.first, "%s: this is no fence device", e.name)
		c.lost(e)
		return
	}
	d := fence.Device{Name: name, Agent: e.get("agent")}
	if slices.ContainsFunc(c.document.FenceDevices, func(o fence.Device) bool { return o.Name == name }) {
		c.no(e.first, "device %s is there twice: the first counts", name)
		c.lost(e)
		return
	}
	switch d.Agent {
	case "":
		c.no(e.first, "device %s has no agent: left out", name)
		c.lost(e)
		return
	case "fence_manual", "fence_ack_manual":
		d.Agent = "manual"
		c.yes(e.first, "manual: a person switches the machine off and types `masthead fence confirm-dead HEAD`")
	case "fence_ipmilan", "fence_ilo3", "fence_ilo4", "fence_drac5", "fence_idrac":
		c.yes(e.first, "the program %s must be on the heads; masthead's own `ipmi` and `redfish` need none", d.Agent)
	case "fence_vmware", "fence_vmware_soap", "fence_vmware_helper", "fence_esxi":
		c.yes(e.first, "the program %s must be on the heads; masthead's own `vmware` needs none", d.Agent)
	default:
		c.yes(e.first, "the program %s must be on the heads", d.Agent)
	}
	d.Params = c.params(e, name)
	c.document.FenceDevices = append(c.document.FenceDevices, d)
}

// params are what of an element's attributes is for the agent. Passwords become secrets.
func (c *clusterReader) params(e *element, owner string) map[string]string {
	params := map[string]string{}
	for _, a := range e.rest() {
		name, value := a.Name.Local, a.Value
		e.used[name] = true
		switch {
		case name == "delay":
			c.yes(e.first, "delay: the standby fences 500 ms later than the owner")
		case name == "action" || name == "option" || name == "operation":
			if value != "off" {
				c.no(e.first, "%s=%q: only off is ever done; a machine that comes back by itself could be a second owner", name, value)
				break
			}
			params[name] = value
		case fence.Secret(name):
			params[name] = c.secret(e.first, owner+"-"+name, value)
		default:
			params[name] = value
		}
	}
	if len(params) == 0 {
		return nil
	}
	return params
}

// fence are the levels of a node: its methods, in order.
func (c *clusterReader) fence(e *element, node string) [][]fence.Step {
	var levels [][]fence.Step
	waits := false // a level that waits for a person
	for _, m := range e.children {
		if m.name != "method" {
			c.no(m.first, "%s: this is no method", m.name)
			c.lost(m)
			continue
		}
		m.get("name")
		var steps []fence.Step
		manual := false
		for _, d := range m.children {
			step, byHand, ok := c.step(d, node)
			if !ok {
				continue
			}
			steps = append(steps, step)
			manual = manual || byHand
		}
		switch {
		case len(steps) == 0:
			c.no(m.first, "the method has no device that can be used: left out")
		case waits:
			c.no(m.first, "it stands behind a method that waits for a person: left out")
		case manual && len(steps) > 1:
			c.no(m.first, "a person cannot be one of several devices of a method: left out")
		default:
			levels = append(levels, steps)
			waits = manual
			c.yes(m.first, "level %d of head %s", len(levels), node)
		}
	}
	return levels
}

// step is one device of a method.
func (c *clusterReader) step(e *element, node string) (step fence.Step, manual, ok bool) {
	name := e.get("name")
	i := slices.IndexFunc(c.document.FenceDevices, func(d fence.Device) bool { return d.Name == name })
	if e.name != "device" || i < 0 {
		c.no(e.first, "there is no fence device %q", name)
		c.lost(e)
		return step, false, false
	}
	for _, action := range []string{"action", "option", "operation"} {
		// Two power supplies of one machine are written as off, off, on, on.
		if v := strings.ToLower(e.all()[action]); v == "on" {
			c.yes(e.first, "%s=\"on\": left out; a person switches the machine on again", action)
			c.quiet(e)
			return step, false, false
		}
	}
	manual = c.document.FenceDevices[i].Agent == "manual"
	step = fence.Step{Device: name, Params: c.params(e, node+"-"+name)}
	if manual && step.Params != nil {
		c.yes(e.first, "manual: needs no parameters")
		step.Params = nil
	}
	return step, manual, true
}
