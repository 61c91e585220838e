package arbiter

import (
	"masthead/appliance/failover"
)

// Boots are the witnesses that answer, each with the boot that it named: whoever restarts names another one.
func (l *Lease) Boots(now failover.Instant) map[string]uint64 {
	all := map[string]uint64{}
	for name, st := range l.voters {
		if st.voter.Head == Witness && st.heard != never && l.fresh(st, now) {
			all[name] = st.boot
		}
	}
	return all
}

// SoloKnown is when the newest renewal was sent with which a quorum acknowledged since when the owner owns alone, counting
// this head's own vote and those witnesses that were there in boots and have not restarted since; 0: there is none. Others
// may have forgotten an owner between, and would take an older copy of the data for the newest.
func (l *Lease) SoloKnown(boots map[string]uint64) failover.Instant {
	if l.facts.Solo.IsZero() || !l.wants() {
		return 0
	}
	q := l.rosters.quorum(func(v Voter) failover.Instant {
		st, ok := l.voters[v.Name]
		switch {
		case !ok, v.Head != Witness && v.Head != l.config.Self:
			return never
		case v.Head == Witness && (boots[v.Name] == 0 || st.boot != boots[v.Name]):
			return never
		}
		return st.soloSent
	})
	return max(q, 0)
}

// Boots is Lease.Boots at now.
func (p *Panel) Boots() map[string]uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lease.Boots(p.config.Now())
}

// SoloKnown is Lease.SoloKnown.
func (p *Panel) SoloKnown(boots map[string]uint64) failover.Instant {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lease.SoloKnown(boots)
}

// SoloKnown is when the newest renewal of the lease was sent, if it is committed since when this head owns alone; 0: it is
// not. Whoever is granted a later term knows it.
func (r *Raft) SoloKnown() failover.Instant {
	o := r.machine.ownership()
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.want
	if w.solo.IsZero() || w.epoch == 0 || r.epoch != w.epoch || o.Epoch != w.epoch || o.Owner != r.config.Self || !o.Solo.Equal(w.solo) {
		return 0
	}
	return max(0, r.until-r.config.lease()+r.config.Timing.Margin)
}
