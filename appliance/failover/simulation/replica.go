package simulation

import (
	"time"

	"masthead/appliance/data"
	"masthead/appliance/failover"
)

// DRBD's words.
const (
	primary   = "Primary"
	secondary = "Secondary"

	upToDate     = "UpToDate"
	consistent   = "Consistent"
	outdated     = "Outdated"
	inconsistent = "Inconsistent"
	unknown      = "DUnknown"

	connected  = "Connected"
	connecting = "Connecting"
	standAlone = "StandAlone"

	frozen  = "fencing"
	flowing = "no"
)

// replica is the replicated data of the first two heads: what DRBD 8.4 makes of what befalls their machines, their network
// and the commands of their daemons (drbd_state.c, drbd_receiver.c and drbd_nl.c of the kernel). All writes that one primary
// completes without the other head are one bit of content; a head whose content lacks a bit that the other has, has lost
// writes that somebody was told are safe.
type replica struct {
	stints  uint
	side    [copies]side
	apart   time.Duration         // the path is broken since; negative: it is not
	patient [copies]time.Duration // after how long each side notices that
	joining time.Duration         // a handshake that will be done then; negative: none
	syncing time.Duration         // a resync that will be done then
	split   bool                  // both copies were written to by themselves
}

// copies are how many heads have one.
const copies = 2

type side struct {
	content uint64
	// On the device.
	disk    string // UpToDate, Outdated, Inconsistent
	peerOld bool   // the other copy is older
	crashed bool   // it was written to when its machine died
	// In the kernel.
	copy   data.Copy
	losses int // how often it has lost the other copy
	asks   asking
	// In the daemon, and what it has started.
	keeper keeper
}

// asking is the kernel's question to the fence-peer handler.
type asking struct {
	on        bool
	gen       uint32
	losses    int
	promotion bool // `drbdadm primary` waits for the answer
	forced    bool // with --force, and does it whatever that is
}

// freezes tells whether a primary that has lost the other copy waits for a word: see ownership.Config.freezes.
func (w *World) freezes() bool { return w.sc.Kind != failover.Pair || w.sc.Fencing }

func (w *World) hasCopy(i int) bool { return w.sc.Data && i < copies }

// dataOff is the end of a machine: what is in the kernel is gone.
func (w *World) dataOff(i int) {
	if !w.hasCopy(i) {
		return
	}
	s := &w.data.side[i]
	s.crashed = s.crashed || s.copy.Role == primary
	s.copy = data.Copy{}
	s.asks = asking{gen: s.asks.gen + 1}
	s.keeper = keeper{}
	w.data.joining = -1
}

// attach gives the copy on the device to the kernel.
func (w *World) attach(i int) {
	s := &w.data.side[i]
	s.copy = data.Copy{There: true, Role: secondary, Suspended: flowing, Connection: connecting, PeerRole: "Unknown", PeerDisk: unknown, Replication: "Off", Disk: s.disk}
	if s.peerOld {
		s.copy.PeerDisk = outdated
	} else if s.disk == upToDate {
		s.copy.Disk = consistent // nobody knows what the other one has done meanwhile
	}
}

// lose is a side that notices that the other one is gone.
func (w *World) lose(i int) {
	s := &w.data.side[i]
	c := &s.copy
	if c.Connection != connected {
		return
	}
	s.losses++
	c.Connection, c.PeerRole, c.Replication = connecting, "Unknown", "Off"
	if c.PeerDisk != outdated && c.PeerDisk != inconsistent {
		c.PeerDisk = unknown
	}
	if w.story != nil {
		w.tell(i, "the data has lost its peer")
	}
	if c.Role == primary {
		switch {
		case c.PeerDisk != unknown: // the target of a resync that did not end
			w.stint(i)
		case w.freezes():
			c.Suspended = frozen
			w.fencePeer(i, false)
		default:
			w.stint(i)
			w.fencePeer(i, false)
		}
	}
	w.changed(i)
}

// fencePeer calls the handler.
func (w *World) fencePeer(i int, promotion bool) {
	s := &w.data.side[i]
	s.asks = asking{on: true, gen: s.asks.gen + 1, losses: s.losses, promotion: promotion}
	s.keeper.asked = -1
	w.in(w.rnd.between(2*time.Millisecond, 25*time.Millisecond), evAsk, i, s.asks.gen)
}

// fencedPeer is the handler's exit code (drbd_nl.c, conn_try_outdate_peer).
func (w *World) fencedPeer(i, code int) {
	s := &w.data.side[i]
	c, promotion := &s.copy, s.asks.promotion
	forced := s.asks.forced
	same := s.losses == s.asks.losses && c.Connection != connected
	s.asks = asking{gen: s.asks.gen}
	switch {
	case !same: // connected meanwhile
	case code == data.ExitFenced || code == data.ExitOutdated || forced:
		c.PeerDisk, s.peerOld = outdated, true
		was := c.Suspended
		c.Suspended = flowing
		if w.story != nil {
			w.tell(i, "the data may be written to without the peer: %s", s.keeper.word.How)
		}
		if promotion && (forced || c.Disk != inconsistent && c.Disk != outdated) {
			c.Disk, s.disk, c.Role = upToDate, upToDate, primary
			w.stint(i)
		} else if c.Role == primary && was == frozen {
			w.stint(i)
		}
	case code == data.ExitPrimary && c.Role != primary && c.Disk != inconsistent:
		c.Disk, s.disk = outdated, outdated
	}
	if promotion {
		w.stepped(i, c.Role == primary)
	}
	w.changed(i)
}

// promote is `drbdadm primary`, or with --force. pending: the answer of the handler decides.
func (w *World) promote(i int, force bool) (done, pending bool) {
	s, o := &w.data.side[i], &w.data.side[1-i]
	c := &s.copy
	switch {
	case c.Role == primary:
		return true, false
	case c.Connection == connected:
		// The other side is asked, and may be gone without that anybody has noticed.
		if o.copy.Connection != connected || o.copy.Role == primary || !w.dataReaches() || c.Disk == inconsistent {
			return false, false
		}
		c.Role = primary
		return true, false
	case !force && (c.Disk == inconsistent || c.Disk == outdated) || s.asks.on:
		return false, false
	case c.Disk == upToDate && (c.PeerDisk == outdated || c.PeerDisk == inconsistent):
		c.Role = primary
		w.stint(i)
		return true, false
	}
	w.fencePeer(i, true)
	s.asks.forced = force
	return false, true
}

// stint begins the writes that one head alone has.
func (w *World) stint(i int) {
	d := &w.data
	s, o := &d.side[i], &d.side[1-i]
	// Without fencing the owner of a pair does not wait: whoever says that it is off gives up what it wrote since it was heard.
	accepted := w.law.person[i] || w.law.word[i] && !w.freezes()
	if o.content&^s.content != 0 && !accepted {
		w.fail("R5", headNames[i]+" is written to alone, and lacks writes of "+headNames[1-i]+" that were acknowledged")
	}
	s.content |= 1 << (d.stints % 64)
	d.stints++
	w.law.writers(w)
}

// writes says whether a head can complete a write now.
func (w *World) writes(i int) bool {
	c := &w.data.side[i].copy
	return c.Role == primary && w.heads[i].alive() && c.Suspended == flowing &&
		(c.Connection != connected || w.data.side[1-i].copy.Connection == connected && w.dataReaches())
}

// dataReaches says whether the two kernels reach one another.
func (w *World) dataReaches() bool {
	return w.dataPath() && w.heads[0].alive() && w.heads[1].alive()
}

// dataEvery is how often the data engines look at one another.
const dataEvery = 50 * time.Millisecond

// dataTick is what the two data engines see of one another.
func (w *World) dataTick() {
	w.post(event{at: w.now + dataEvery, kind: evData})
	d := &w.data
	path := w.dataReaches()
	switch {
	case path:
		d.apart = -1
	case d.apart < 0:
		d.apart = w.now
		for i := range d.patient { // ping-int, ping-timeout and timeout of package data, or an error of the network at once
			d.patient[i] = w.rnd.between(100*time.Millisecond, 1300*time.Millisecond)
		}
	}
	for i := range d.side {
		if !w.heads[i].alive() {
			continue
		}
		if d.apart >= 0 && w.now-d.apart > d.patient[i] || path && d.side[1-i].copy.Connection != connected {
			w.lose(i)
		}
		w.keep(i)
	}
	w.handshake(path)
	w.law.writers(w)
}
