package registry

import (
	"context"
	"fmt"
	"slices"
	"time"

	"masthead/appliance/state"
)

// summary is what the state keeps of a machine's last boot, for a head that was restarted.
type summary struct {
	Boot Boot      `json:"boot"`
	Seen time.Time `json:"seen"`
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
	if _, err := r.conf.Store.Apply(ctx, state.Origin{Who: "registry", Where: "local"}, ops...); err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		for mac := range changed {
			if l := r.live[mac]; l != nil {
				l.unsaved = true
			}
		}
		return fmt.Errorf("save the last boots: %w", err)
	}
	return nil
}

// unsaved takes the summaries that the state does not have yet, by MAC. They are copies: making JSON of thousands must
// not hold up those who report.
func (r *Registry) unsaved() map[string]summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	changed := map[string]summary{}
	for mac, l := range r.live {
		if !l.unsaved || len(l.boots) == 0 || r.byMAC[mac] == "" {
			continue
		}
		b := l.present()
		b.Stages = slices.Clone(b.Stages)
		changed[mac], l.unsaved = summary{b, l.seen}, false
	}
	return changed
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
