package monitor

import (
	"context"
	"slices"
	"time"

	"masthead/appliance/failover"
)

// refresh asks the monitors that may explain a failure of which people would be told, unless they have been asked since it
// was found: a check of the router each hour must not come after the alerts of all that is behind it, nor explain for an
// hour what has other reasons.
func (s *Set) refresh(ctx context.Context, w *watch, now time.Time) {
	if _, due := w.m.Step(w.state, w.held.result, "", now); len(due) == 0 || w.held.result.Reading == failover.Up {
		return
	}
	for _, a := range s.ancestors(w) {
		if a.here && a.cancel == nil && a.held == nil && a.started.Before(w.started) && !a.m.excluded(now) {
			s.begin(ctx, a, now)
		}
	}
}

// ancestors are the monitors that w depends on, and those that they depend on, each once.
func (s *Set) ancestors(w *watch) []*watch {
	var all []*watch
	var add func(names []string)
	add = func(names []string) {
		for _, a := range s.watches {
			if slices.Contains(names, a.m.Name) && !slices.Contains(all, a) {
				all = append(all, a)
				add(a.m.Depends)
			}
		}
	}
	add(w.m.Depends)
	return all
}

// because names the failed monitor that explains w: one that nothing explains but itself.
func (s *Set) because(w *watch) string {
	failed := slices.DeleteFunc(s.ancestors(w), func(a *watch) bool { return !a.here || a.state.Last.Reading != failover.Down })
	for _, a := range failed {
		if !slices.ContainsFunc(s.ancestors(a), func(b *watch) bool { return slices.Contains(failed, b) }) {
			return a.m.Name
		}
	}
	return ""
}
