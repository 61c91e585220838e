package registry

import (
	"fmt"
	"time"

	"masthead/node/wire"
)

// A node reports to one head, its parent. The others know of it what the parent writes in the state: that it serves the
// node, the boot, and where the node stands.

// orphanAfter is how long a node whose parent is dead may take to find another: two intervals of its reports, of which
// the first may just be over, and the way round the list of heads.
const orphanAfter = 30 * time.Second

// serve makes this head the parent of a machine that has come to it. The caller holds mu for writing.
func (r *Registry) serve(l *live) (before string, moved bool) {
	before = l.head
	if before == r.conf.Head {
		return before, false
	}
	l.head, l.said, l.unsaved = r.conf.Head, "", true
	return before, before != ""
}

// comes tells whether a machine whose stage this head sees is this head's. All heads hear a request for an address, so
// that says nothing where there are others; a file is fetched from one.
func (r *Registry) comes(s wire.Stage) bool { return s != wire.StageDHCP || len(r.heads) <= 1 }

// phase is where a node stands, and the name of its parent if that is dead and the reason. The caller holds mu.
func (r *Registry) phase(rec Record, l *live, now time.Time) (phase wire.Phase, dead string) {
	if l == nil {
		return Phase(rec, Boot{}, time.Time{}, now), ""
	}
	if !rec.Approved || l.head == r.conf.Head || l.said == "" {
		return Phase(rec, l.present(), l.heard(), now), ""
	}
	since, isDead := r.dead[l.head]
	if isDead && now.Sub(since) >= orphanAfter && (l.said == wire.PhaseUp || l.said == wire.PhaseBooting) {
		return wire.PhaseDown, l.head
	}
	return l.said, ""
}

// sweepEvery is how often phases are compared with those before, for the events about them, and how often the boots
// that changed are written to the state, all at once: a head that is killed loses so much of what it alone saw of a boot,
// a machine's way to its kernel, and a thousand machines that boot cost one sync of the disk in that time.
const sweepEvery = 2 * time.Second

// Sweep notes which nodes have changed phase since the last Sweep, and which heads are dead.
func (r *Registry) Sweep(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tellTwins()
	alive := map[string]bool{r.conf.Head: true}
	for _, name := range r.names() {
		node := r.nodes[name]
		l := r.live[node.MAC]
		if l == nil {
			continue
		}
		if _, asked := alive[l.head]; !asked {
			alive[l.head] = l.head == "" || r.alive(l.head)
			r.noteAlive(l.head, alive[l.head], now)
		}
		if l.head == r.conf.Head && len(l.boots) > 0 && l.ownPhase(now) != l.written {
			l.unsaved = true
		}
		phase, dead := r.phase(node.Record, l, now)
		before := l.phase
		l.phase = phase
		if before == phase || before == "" {
			continue
		}
		e := wire.Event{Time: now, Kind: "node", Node: name, MAC: node.MAC}
		switch phase {
		case wire.PhaseDown:
			e.Text, e.Failed = fmt.Sprintf("is down: silent for %v", now.Sub(l.heard()).Round(time.Second)), true
			if dead != "" {
				e.Text = "is down: " + orphaned(dead)
			}
		case wire.PhaseFailed:
			e.Text, e.Failed = "does not come up: masthead node why "+name, true
		case wire.PhaseUp:
			e.Text = "is up"
		case wire.PhaseBooting:
			e.Text = "boots"
		default:
			continue
		}
		r.event(e)
	}
}

func (r *Registry) noteAlive(head string, alive bool, now time.Time) {
	if alive {
		delete(r.dead, head)
	} else if _, known := r.dead[head]; !known {
		r.dead[head] = now
	}
}

// orphaned says what is wrong with a node whose parent is dead.
func orphaned(head string) string {
	return fmt.Sprintf("its head %s is dead and it has not found another", head)
}
