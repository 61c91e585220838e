package service

import "slices"

// news gives a function that tells what has changed for people since the last time. The caller holds mu.
func (g *Group) news() func() {
	type item struct {
		text string
		bad  bool
	}
	var list []item
	type off struct{ service, reason string }
	var disabled []off
	ready := g.plan.ready()
	for _, e := range g.plan.entries {
		state, reason := g.plan.stateOf(e, ready)
		before := g.reported[e]
		if state == before || state == StateUnknown {
			continue
		}
		g.reported[e] = state
		if before == "" && (state == StateStopped || state == StateDisabled) {
			continue
		}
		text := "service " + e.service.Name + ": " + state
		if reason != "" {
			text += ": " + reason
		}
		given := e.failed != "" && (state == StateFailed || state == StateDisabled)
		list = append(list, item{text, given || state == StateFailed || state == StateRecovering})
		if given && e.service.Recovery == Disable {
			disabled = append(disabled, off{e.service.Name, e.failed})
		}
	}
	for e := range g.reported {
		if !slices.Contains(g.plan.entries, e) {
			delete(g.reported, e)
		}
	}
	disable := g.cfg.Disable
	return func() {
		for _, i := range list {
			g.tell(i.text, i.bad)
		}
		for _, d := range disabled {
			if disable != nil {
				disable(d.service, d.reason)
			}
		}
	}
}

func (g *Group) tell(text string, bad bool) {
	if g.event != nil {
		g.event(text, bad)
	}
	if bad {
		g.world.log.Warn(text)
	} else {
		g.world.log.Info(text)
	}
}
