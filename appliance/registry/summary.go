package registry

import (
	"context"
	"fmt"
	"slices"
	"time"

	"masthead/appliance/state"
	"masthead/node/wire"
)

// summary is what the state keeps of a machine's last boot: for a head that was restarted, and for the other heads, to
// which the machine does not report. Its parent writes it when something has changed, not at each report.
type summary struct {
	Boot  Boot             `json:"boot"`
	Seen  time.Time        `json:"seen"`
	Head  string           `json:"head,omitempty"`  // its parent
	Phase wire.Phase       `json:"phase,omitempty"` // as the parent sees it
	Root  *wire.RootStatus `json:"root,omitempty"`
}

// SaveSummaries writes the boots that changed since the last time, in one change of the state. Where none has, the disk
// is left alone.
func (r *Registry) SaveSummaries(ctx context.Context) error {
	changed := r.unsaved()
	if len(changed) == 0 {
		return nil
	}
	ops := make([]state.Op, 0, len(changed))
	for mac, s := range changed {
		op, err := state.Put(state.KindBoot, mac, s)
		if err != nil {
			return err
		}
		ops = append(ops, op)
	}
	ack, err := r.conf.Store.Apply(ctx, state.Origin{Who: "registry", Where: "local"}, ops...)
	r.mu.Lock()
	defer r.mu.Unlock()
	for mac := range changed {
		l := r.live[mac]
		switch {
		case l == nil:
		case err != nil:
			l.unsaved = true
		case l.version.Compare(ack.Version) < 0:
			l.version = ack.Version
		}
	}
	if err != nil {
		return fmt.Errorf("save the last boots: %w", err)
	}
	return nil
}

// unsaved takes the summaries that the state does not have yet, by MAC. They are copies: making JSON of thousands must
// not hold up those who report.
func (r *Registry) unsaved() map[string]summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.conf.Now()
	changed := map[string]summary{}
	for mac, l := range r.live {
		if !l.unsaved || len(l.boots) == 0 || l.head != r.conf.Head || r.byMAC.keeper[mac] == "" {
			continue
		}
		b := l.present()
		b.Stages = slices.Clone(b.Stages)
		l.written, l.unsaved = l.ownPhase(now), false
		changed[mac] = summary{b, l.seen, r.conf.Head, l.written, l.root}
	}
	return changed
}

// ownPhase is where a machine stands, by what this head has heard of it. Whether it is approved its record says.
func (l *live) ownPhase(now time.Time) wire.Phase {
	return Phase(Record{Approved: true}, l.present(), l.heard(), now)
}

// takeSummary takes in what the state has of a machine. What this head hears of a machine that reports to it is newer
// than any summary, but for that of another head to which the machine has gone. The caller holds mu.
func (r *Registry) takeSummary(rec state.Record) error {
	mac := rec.Key.Name
	l := r.live[mac]
	if l != nil && (l.version.Compare(rec.Version) >= 0 || rec.Version.Head == r.conf.Head && r.conf.Head != "") {
		return nil
	}
	if rec.Deleted {
		delete(r.live, mac)
		return nil
	}
	s, err := state.Decode[summary](rec)
	if err != nil {
		return err
	}
	switch {
	case l == nil:
		l = &live{written: s.Phase}
		r.live[mac] = l
		if s.Head == r.conf.Head && s.Phase == wire.PhaseUp {
			l.since = r.conf.Now() // it has gone on reporting while this head was away
		}
		l.follow(s)
	case s.Head == r.conf.Head:
		// An echo.
	case l.head == r.conf.Head && s.Seen.Before(l.seen):
		l.adopt(s.Boot)
		l.unsaved = true // it has come to us since: the other head shall know
	default:
		l.follow(s)
	}
	l.version = rec.Version
	return nil
}

// follow takes over what a machine's parent says of it.
func (l *live) follow(s summary) {
	l.boots = slices.DeleteFunc(l.boots, func(b Boot) bool { return b.ID == "" || b.ID == s.Boot.ID })
	if len(l.boots) == keepBoots {
		l.boots = slices.Delete(l.boots, 0, 1)
	}
	l.boots = append(l.boots, s.Boot)
	l.seen, l.head, l.said, l.root, l.unsaved = s.Seen, s.Head, s.Phase, s.Root, false
}

// adopt takes over the way to the kernel that another head saw of the boot that now reports to us.
func (l *live) adopt(from Boot) {
	if len(l.boots) == 0 {
		return
	}
	b := &l.boots[len(l.boots)-1]
	if (from.ID != "" && from.ID != b.ID) || from.Started.After(b.Started) || b.Started.Sub(from.Started) > StalledAfter {
		return
	}
	for _, s := range from.Stages {
		if _, had := b.stage(s.Stage); !had {
			b.put(s)
		}
	}
	b.Started = from.Started
}
