package simulation

import (
	"time"

	"masthead/appliance/failover"
	"masthead/node/witness"
)

// authority fills in what the arbiter says.
func (w *World) authority(i int, now failover.Instant) {
	h := &w.heads[i]
	a := &h.view.Authority
	*a = failover.Authority{Kind: w.sc.Kind}
	switch w.sc.Kind {
	case failover.Panel:
		w.panelSays(h, a, now)
	case failover.Raft:
		w.raftSays(i, a, now)
	}
}

func (w *World) panelSays(h *head, a *failover.Authority, now failover.Instant) {
	p := &h.panel
	if held := p.held(); held != 0 && p.until > now {
		a.Held, a.Until = held, p.until
	}
	lately := 5 * w.policy.Timing.Renew
	var up, remember [3]int
	var owned, leased uint64
	for k := range 2 + w.sc.Witnesses {
		v := &p.votes[k]
		l := &v.last
		a.Known = max(a.Known, failover.Epoch(l.Epoch), failover.Epoch(l.Owned))
		if v.heard == 0 || now-v.heard > lately {
			continue
		}
		group := min(k, 2)
		if v.sound {
			up[group]++
			if l.Left > 0 && v.heard+l.Left > now && l.Epoch > leased {
				leased = l.Epoch
				a.Owner = headNames[int(l.Holder)%maxHeads]
			}
		}
		if l.Remembers && k > 0 {
			remember[group]++
			if l.Owned > owned {
				owned = l.Owned
				a.Owned, a.Solo = failover.Epoch(l.Owned), l.Facts.Solo
			} else if l.Owned == owned && a.Solo.Before(l.Facts.Solo) {
				a.Solo = l.Facts.Solo
			}
		}
		if a.Held == 0 && p.want != 0 && l.Reason != witness.NotRefused {
			a.Refused = refusals[l.Reason]
		}
	}
	need := w.sc.Witnesses/2 + 1
	votes := min(up[0], 1) + min(up[1], 1)
	if up[2] >= need {
		votes++
	}
	a.Quorum = failover.Down
	if votes >= 2 {
		a.Quorum = failover.Up
	} else if now < 2*w.policy.Timing.Renew {
		a.Quorum = failover.Unknown
	}
	// This head's own record and what the witnesses or the other head remember cover all that an owner has said.
	a.Vouches = remember[1] > 0 || remember[2] >= need
	if !a.Vouches {
		a.Owned, a.Solo = 0, time.Time{}
	}
}

var refusals = func() (s [16]string) {
	for k := range s {
		s[k] = witness.Reason(k).String()
	}
	return s
}()
