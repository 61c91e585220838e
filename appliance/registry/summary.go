package registry

import (
	"context"
	"fmt"
	"time"

	"masthead/appliance/state"
)

// summary is what the state keeps of a machine's last boot, for a head that was restarted.
type summary struct {
	Boot Boot      `json:"boot"`
	Seen time.Time `json:"seen"`
}

// SaveSummaries writes the boots that changed since the last time, in one change of the state.
func (r *Registry) SaveSummaries(ctx context.Context) error {
	r.mu.Lock()
	var ops []state.Op
	var saved []*live
	for mac, l := range r.live {
		if !l.unsaved || len(l.boots) == 0 || r.byMAC[mac] == "" {
			continue
		}
		op, err := state.Put(state.KindBoot, mac, summary{l.present(), l.seen})
		if err != nil {
			r.mu.Unlock()
			return err
		}
		ops, saved = append(ops, op), append(saved, l)
		l.unsaved = false
	}
	r.mu.Unlock()
	if len(ops) == 0 {
		return nil
	}
	if _, err := r.conf.Store.Apply(ctx, state.Origin{Who: "registry", Where: "local"}, ops...); err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, l := range saved {
			l.unsaved = true
		}
		return fmt.Errorf("save the last boots: %w", err)
	}
	return nil
}

// takeSummary is for New alone: what memory knows is newer than any summary. The caller holds mu.
func (r *Registry) takeSummary(rec state.Record) error {
	if rec.Deleted || r.live[rec.Key.Name] != nil {
		return nil
	}
	s, err := state.Decode[summary](rec)
	if err != nil {
		return err
	}
	r.live[rec.Key.Name] = &live{seen: s.Seen, boots: []Boot{s.Boot}}
	return nil
}
