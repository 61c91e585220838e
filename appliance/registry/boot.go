package registry

import (
	"slices"
	"time"

	"masthead/appliance/state"
	"masthead/images"
	"masthead/node/wire"
)

// Boot is one way of a machine from power-on to up, as far as the head knows it.
type Boot struct {
	ID      string             `json:"id,omitempty"` // of the running kernel; empty until it speaks
	Started time.Time          `json:"started"`
	Image   images.Digest      `json:"image,omitempty"`   // that the machine was told to run
	Running images.Digest      `json:"running,omitempty"` // that it says it runs
	Stages  []wire.StageResult `json:"stages,omitempty"`  // in the order of wire.Stages, each once
}

// order is the place of a stage on the way, or -1.
func order(s wire.Stage) int { return slices.Index(wire.Stages(), s) }

// outside tells the stages that the head sees as requests from those that a machine reports.
func outside(s wire.Stage) bool {
	i := order(s)
	return i >= 0 && i <= order(wire.StageInitramfs)
}

// put enters a stage, in place of what was known of it.
func (b *Boot) put(r wire.StageResult) {
	if order(r.Stage) < 0 {
		return
	}
	i, found := slices.BinarySearchFunc(b.Stages, r, func(a, c wire.StageResult) int { return order(a.Stage) - order(c.Stage) })
	if found {
		b.Stages[i] = r
		return
	}
	b.Stages = slices.Insert(b.Stages, i, r)
}

func (b Boot) stage(s wire.Stage) (wire.StageResult, bool) {
	for _, r := range b.Stages {
		if r.Stage == s {
			return r, true
		}
	}
	return wire.StageResult{}, false
}

func (b Boot) done(s wire.Stage) bool {
	r, ok := b.stage(s)
	return ok && r.Outcome == wire.OutcomeDone
}

// last is the furthest stage.
func (b Boot) last() (wire.StageResult, bool) {
	if len(b.Stages) == 0 {
		return wire.StageResult{}, false
	}
	return b.Stages[len(b.Stages)-1], true
}

// begins reports whether a stage that the head sees from outside can only belong to a new boot. A kernel that has
// spoken does not fetch loaders. And who asks for an address or a first loader after the script was reset on the way;
// a second request for an address after the first loader is that loader's own.
func (b Boot) begins(s wire.Stage) bool {
	if !outside(s) {
		return false
	}
	last, some := b.last()
	if !some {
		return false
	}
	early := s == wire.StageDHCP || s == wire.StageTFTP
	return b.ID != "" || (early && order(last.Stage) >= order(wire.StageScript))
}

// keepBoots is how many boots of a machine are remembered: the present one and those that show whether it is new that
// it fails.
const keepBoots = 3

// live is what is known of a machine and not kept in the state.
type live struct {
	seen   time.Time
	since  time.Time // when this head began to listen for it: until then its silence says nothing
	boots  []Boot    // the newest last
	root   *wire.RootStatus
	events []wire.Event // the last that concern it

	head string     // its parent; empty: not known yet
	said wire.Phase // what that head says of it, if it is another one

	answered string        // what its last hello was told
	phase    wire.Phase    // when Run looked last
	unsaved  bool          // its summary in the state is out of date
	written  wire.Phase    // the phase that is in it
	version  state.Version // the newest summary that was taken in
}

// heard is when its silence began.
func (l *live) heard() time.Time {
	if l.since.After(l.seen) {
		return l.since
	}
	return l.seen
}

// present is the boot under way or the last one.
func (l *live) present() Boot {
	if l == nil || len(l.boots) == 0 {
		return Boot{}
	}
	return l.boots[len(l.boots)-1]
}

// observe enters a stage seen from outside.
func (l *live) observe(r wire.StageResult, now time.Time) {
	if last, ok := l.present().last(); ok && r.Outcome == wire.OutcomeFailed && order(last.Stage) > order(r.Stage) {
		return // the machine is past it: a transfer that times out late is one that it had given up for another
	}
	if len(l.boots) == 0 || l.present().begins(r.Stage) {
		l.begin(Boot{Started: now})
	}
	b := &l.boots[len(l.boots)-1]
	if r.Outcome == wire.OutcomeFailed && b.done(r.Stage) {
		return // firmware that hears nothing at once asks again, takes one of the two transfers, and lets the other time out
	}
	if before, ok := b.stage(r.Stage); ok && r.Took == 0 {
		// What began earlier took until now: a DHCP exchange is several packets, each of which is seen by itself.
		switch before.Outcome {
		case wire.OutcomeRunning:
			r.Took = r.Time.Sub(before.Time).Seconds()
		case wire.OutcomeDone:
			r.Took = before.Took + r.Time.Sub(before.Time).Seconds()
		}
		if r.Outcome == wire.OutcomeRunning {
			r.Took = 0 // it begins anew: iPXE asks again for what firmware had
		}
	}
	b.put(r)
	l.seen, l.unsaved = now, true
}

// known gives the boot of that id, or nil.
func (l *live) known(id string) *Boot {
	if l == nil {
		return nil
	}
	for i := range l.boots {
		if l.boots[i].ID == id {
			return &l.boots[i]
		}
	}
	return nil
}

// boot gives the boot of that id, made if need be. A boot seen only from outside so far is the one that now speaks.
func (l *live) boot(id string, now time.Time) *Boot {
	if b := l.known(id); b != nil {
		return b
	}
	l.unsaved = true
	if n := len(l.boots); n > 0 && l.boots[n-1].ID == "" {
		l.boots[n-1].ID = id
		return &l.boots[n-1]
	}
	l.begin(Boot{ID: id, Started: now})
	return &l.boots[len(l.boots)-1]
}

// lateWord is how long a report of the boot before may be on its way once the machine has started again.
const lateWord = 15 * time.Second

// stillRuns decides whether a report of an earlier boot shows that the machine never restarted: something on it, or in
// its name, asked for a loader or a script, which looked like a new boot, and no kernel has claimed that one since. The
// boot that reports is the present one again then.
func (l *live) stillRuns(id string, now time.Time) bool {
	present := l.present()
	if present.ID != "" || now.Sub(present.Started) < lateWord {
		return false
	}
	for i, b := range l.boots {
		if b.ID == id {
			l.boots = append(slices.Delete(l.boots[:len(l.boots)-1:len(l.boots)-1], i, i+1), b)
			l.unsaved = true
			return true
		}
	}
	return false
}

func (l *live) begin(b Boot) {
	if len(l.boots) == keepBoots {
		l.boots = slices.Delete(l.boots, 0, 1)
	}
	l.boots = append(l.boots, b)
	l.root = nil
}

// keepEvents is how many events of each machine are kept, beside the log of all: two boots' worth, so that a busy
// cluster does not push out what explains one machine.
const keepEvents = 40

func (l *live) note(e wire.Event) {
	if len(l.events) == keepEvents {
		l.events = slices.Delete(l.events, 0, 1)
	}
	l.events = append(l.events, e)
}
