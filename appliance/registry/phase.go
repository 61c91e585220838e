package registry

import (
	"time"

	"masthead/node/wire"
)

const (
	// DownAfter is how long an agent may be silent: three of its reports, ten seconds apart, and some.
	DownAfter = 35 * time.Second
	// StalledAfter is how long a machine on its way up may be silent before its boot counts as failed: longer than the
	// slowest single step, an initramfs over a slow link or a firmware that trains its memory after a reset.
	StalledAfter = 3 * time.Minute
)

// Phase says where a node stands. seen is when it was last heard of; zero is never.
func Phase(r Record, b Boot, seen, now time.Time) wire.Phase {
	if !r.Approved {
		return wire.PhaseDiscovered
	}
	if seen.IsZero() || len(b.Stages) == 0 {
		return wire.PhaseKnown
	}
	silent := now.Sub(seen)
	last, _ := b.last()
	switch {
	case b.done(wire.StageUp) && silent > DownAfter:
		return wire.PhaseDown
	case b.done(wire.StageUp):
		return wire.PhaseUp
	case last.Outcome == wire.OutcomeFailed, silent > StalledAfter:
		return wire.PhaseFailed
	}
	return wire.PhaseBooting
}
