package simulation

import (
	"time"

	"masthead/appliance/failover"
)

// replica is the replicated data of two heads: who is connected, who may write, and who has what. All writes that one
// primary completes without the other head are one bit of content; a head whose content lacks a bit that the other has, has
// lost writes that somebody was told are safe.
type replica struct {
	stints  uint
	side    [2]side
	apart   time.Duration // the path is broken since; negative: it is not
	patient time.Duration // after how long that is noticed, each side a little differently
	joining time.Duration // a handshake that will be done then; negative: none
	syncing time.Duration // a resync that will be done then
}

type side struct {
	content   uint64
	primary   bool
	thawed    bool          // may write without the peer
	wrote     bool          // has done so in this stint
	connected bool          // as this side believes
	lost      time.Duration // when this side noticed that the peer is gone
	good      time.Duration // when it last was there
	outdated  bool          // in its metadata: knows that it is older
	peerOld   bool          // in its metadata: the other one is older
	fresh     bool          // was connected and up to date in this boot
	target    bool          // of a resync
	diverged  bool
	forced    bool // promoted by a person with older data
}

// reading is what the daemon is told of its data.
func (w *World) reading(i int) failover.Data {
	if !w.sc.Data {
		return failover.NoData
	}
	s := &w.data.side[i]
	switch {
	case s.primary:
		return failover.DataUpToDate
	case s.diverged:
		return failover.DataDiverged
	case s.target:
		return failover.DataSyncing
	case s.outdated:
		return failover.DataOutdated
	case s.connected, s.fresh, s.peerOld:
		return failover.DataUpToDate
	}
	// DRBD's Consistent: after a boot nobody knows what the other has done meanwhile.
	return failover.DataUnknown
}

// mirrored is what the data engine says of its connection.
func (w *World) mirrored(i int) failover.Reading {
	switch {
	case !w.sc.Data:
		return failover.Unknown
	case w.data.side[i].connected:
		return failover.Up
	}
	return failover.Down
}

func (w *World) dataOff(i int) {
	if !w.sc.Data {
		return
	}
	s := &w.data.side[i]
	s.primary, s.thawed, s.wrote, s.connected, s.fresh, s.forced = false, false, false, false, false, false
	w.data.joining = -1
}

// primary is a head that starts its services: the data first, with the peer disconnected by force where it does not agree.
func (w *World) primary(i int) {
	if !w.sc.Data {
		return
	}
	s, o := &w.data.side[i], &w.data.side[1-i]
	if s.connected && o.connected && o.primary {
		s.connected = false
		s.lost = w.now
	}
	if s.connected && !w.dataPath() {
		s.connected, s.lost = false, w.now
	}
	s.primary = true
	if !s.connected {
		w.thaw(i)
	}
	w.law.writers(w)
}

func (w *World) secondary(i int) {
	if !w.sc.Data {
		return
	}
	s := &w.data.side[i]
	s.primary, s.thawed, s.wrote, s.forced = false, false, false, false
}

// thaw is the arbiter's word that a primary without its peer may write. For a panel: a lease that was renewed after the
// peer was lost, so that a machine which was paused cannot take an old one for it, and with which the voters learnt of the
// solo, so that they do not vouch for the other head, and which is not about to be taken back; of voters
// that were there while the peer still was: those that have restarted since may have forgotten that it owned meanwhile.
func (w *World) thaw(i int) {
	h := &w.heads[i]
	s := &w.data.side[i]
	if !h.thinks() || h.last.Services != failover.Run || h.last.Memory.Epoch == 0 {
		return
	}
	peer := &h.peers[0]
	why := ""
	switch {
	case w.sc.Kind == failover.Panel && h.panel.held() == h.last.Memory.Epoch && h.panel.until > w.instant(i) &&
		!h.panel.facts.Solo.IsZero() && !h.disk.forgets() && h.panel.asked > max(s.lost, h.panel.soloAt) && h.panel.known(w, s.good):
		why = "lease"
	case h.fence.state == failover.FenceProof && w.trueTime(i, h.fence.since) > s.lost-2*time.Second && w.heads[1-i].power == off:
		why = "proof of fencing"
	case peer.Said.Yields == h.last.Memory.Epoch && h.from[1-i].any >= s.lost && !w.data.side[1-i].primary:
		why = "the peer yields"
		w.data.side[1-i].outdated = true
		w.data.side[1-i].fresh = false
	case w.law.person[i], w.law.word[i] && w.heads[1-i].power == off:
		why = "a person"
	case w.sc.Kind == failover.Pair && w.sc.Loss == failover.Available:
		why = "policy"
	}
	if why == "" {
		return
	}
	s.thawed, s.peerOld = true, true
	if w.story != nil {
		w.tell(i, "the data may be written without the peer: %s", why)
	}
	w.stint(i)
}

// trueTime is when a daemon's instant was.
func (w *World) trueTime(i int, at failover.Instant) time.Duration {
	return w.now - (w.instant(i) - at)
}

// stint begins the writes that one head alone has.
func (w *World) stint(i int) {
	d := &w.data
	s, o := &d.side[i], &d.side[1-i]
	if o.content&^s.content != 0 && !w.law.person[i] {
		w.fail("R5", headNames[i]+" is primary, and lacks writes of "+headNames[1-i]+" that were acknowledged")
	}
	s.content |= 1 << (d.stints % 64)
	d.stints++
	s.wrote = true
	w.law.writers(w)
}

// dataTick is what the two data engines see of one another.
func (w *World) dataTick() {
	w.post(event{at: w.now + 100*time.Millisecond, kind: evData})
	d := &w.data
	a, b := &w.heads[0], &w.heads[1]
	path := w.dataPath() && a.alive() && b.alive()
	if !path && d.apart < 0 {
		d.apart, d.patient = w.now, w.rnd.between(100*time.Millisecond, 900*time.Millisecond)
	} else if path {
		d.apart = -1
	}
	for i := range d.side {
		s := &d.side[i]
		if s.connected && w.heads[i].alive() && (d.apart >= 0 && w.now-d.apart > d.patient || path && !d.side[1-i].connected) {
			s.connected, s.lost = false, w.now
			if s.target {
				s.outdated = true
			}
			s.target = false
			if w.story != nil {
				w.tell(i, "the data has lost its peer")
			}
		}
		if s.primary && !s.connected && !s.thawed {
			w.thaw(i)
		}
	}
	w.connect(path)
	if path && d.side[0].connected && d.side[1].connected {
		d.side[0].good, d.side[1].good = w.now, w.now
	}
	w.law.writers(w)
}

// connect is the handshake, and the resync of the one who is behind.
func (w *World) connect(path bool) {
	d := &w.data
	a, b := &d.side[0], &d.side[1]
	if !path {
		d.joining = -1
		return
	}
	if a.connected && b.connected {
		t := -1
		if a.target {
			t = 0
		} else if b.target {
			t = 1
		}
		if t >= 0 && w.now >= d.syncing {
			s := &d.side[t]
			s.content |= d.side[1-t].content
			s.target, s.outdated, s.fresh = false, false, true
			d.side[1-t].peerOld, d.side[1-t].fresh = false, true
			if w.story != nil {
				w.tell(t, "the data is up to date")
			}
		}
		return
	}
	if a.connected || b.connected || a.primary && b.primary {
		return
	}
	if d.joining < 0 {
		d.joining = w.now + w.rnd.between(50*time.Millisecond, 300*time.Millisecond)
		return
	}
	if w.now < d.joining {
		return
	}
	d.joining = -1
	ahead, behind := b.content&^a.content == 0, a.content&^b.content == 0
	switch {
	case ahead && behind:
		a.connected, b.connected = true, true
		for i := range d.side {
			s := &d.side[i]
			s.outdated, s.peerOld, s.fresh, s.target, s.diverged = false, false, true, false, false
			s.thawed, s.wrote = false, false
		}
	case ahead && !b.primary:
		w.resync(1)
	case behind && !a.primary:
		w.resync(0)
	default:
		for i := range d.side {
			d.side[i].diverged = !d.side[i].primary
		}
	}
}

func (w *World) resync(target int) {
	d := &w.data
	s, o := &d.side[target], &d.side[1-target]
	s.connected, o.connected = true, true
	s.target, s.diverged, o.diverged = true, false, false
	o.thawed, o.wrote, o.outdated = false, false, false
	o.fresh = true
	d.syncing = w.now + w.rnd.between(100*time.Millisecond, 800*time.Millisecond)
	if w.story != nil {
		w.tell(target, "the data is resynced from %s", headNames[1-target])
	}
}

// writes says whether a head can complete a write now.
func (w *World) writes(i int) bool {
	s := &w.data.side[i]
	return s.primary && w.heads[i].alive() && (s.thawed || s.connected && w.data.side[1-i].connected && w.dataPath())
}
