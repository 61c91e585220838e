package simulation

import (
	"time"

	"masthead/appliance/data"
)

// handshake is how two copies find one another again, and the resync of the one that is behind (drbd_receiver.c,
// drbd_sync_handshake).
func (w *World) handshake(path bool) {
	d := &w.data
	a, b := &d.side[0].copy, &d.side[1].copy
	switch {
	case !path:
		d.joining = -1
	case a.Connection == connected && b.Connection == connected:
		w.resynced()
	case a.Connection != connecting || b.Connection != connecting:
		d.joining = -1
	case d.joining < 0:
		d.joining = w.now + w.rnd.between(50*time.Millisecond, 300*time.Millisecond)
	case w.now >= d.joining:
		d.joining = -1
		w.join()
	}
}

// join compares the generations of the two copies.
func (w *World) join() {
	d := &w.data
	a, b := &d.side[0], &d.side[1]
	ahead, behind := b.content&^a.content == 0, a.content&^b.content == 0
	switch {
	case !ahead && !behind:
		w.parted()
	case a.copy.Role == primary && b.copy.Role == primary: // allow-two-primaries no
		w.standAlone()
	case ahead && behind && a.disk != inconsistent && b.disk != inconsistent && a.crashed == b.crashed:
		w.joined(-1)
	case ahead && behind && a.disk == inconsistent && b.disk == inconsistent:
		w.joined(-1)
	case ahead && !behind || ahead && (b.disk == inconsistent || a.crashed):
		w.resync(1)
	default:
		w.resync(0)
	}
}

// parted are two copies that were both written to by themselves. The head that is done first with comparing them drops the
// connection: the other one may not have compared them by then, knows of nothing, and listens on.
func (w *World) parted() {
	d := &w.data
	d.split = true
	w.standAlone()
	unaware := w.rnd.below(2 * copies) // copies and above: both know
	for i := range d.side {
		if i == unaware {
			d.side[i].copy.Connection = connecting
		} else {
			w.in(w.rnd.between(2*time.Millisecond, 25*time.Millisecond), evSplit, i, w.heads[i].machineGen)
		}
	}
}

// standAlone is a connection that is given up: the daemon has to say when it is tried again.
func (w *World) standAlone() {
	for i := range w.data.side {
		w.data.side[i].copy.Connection = standAlone
		w.changed(i)
	}
}

// resync brings a copy up to date. One that is written to cannot be the target (rr-conflict disconnect).
func (w *World) resync(target int) {
	if w.data.side[target].copy.Role == primary {
		w.standAlone()
		return
	}
	w.joined(target)
	w.data.syncing = w.now + w.rnd.between(100*time.Millisecond, 800*time.Millisecond)
	if w.story != nil {
		w.tell(target, "the data is resynced from %s", headNames[1-target])
	}
}

// joined are two copies that are connected; target is the one that is brought up to date; negative: none.
func (w *World) joined(target int) {
	d := &w.data
	for i := range d.side {
		s := &d.side[i]
		s.disk, s.copy.Disk, s.copy.Replication = upToDate, upToDate, "Established"
		if target >= 0 {
			s.copy.Replication = "SyncSource"
		}
		if i == target {
			s.disk, s.copy.Disk, s.copy.Replication = inconsistent, inconsistent, "SyncTarget"
		}
		s.copy.Connection, s.copy.Suspended = connected, flowing
		s.peerOld = s.peerOld && target >= 0 && i != target
	}
	if target < 0 {
		w.same()
	}
	for i := range d.side {
		w.changed(i)
	}
}

// same are two copies that are the same.
func (w *World) same() {
	d := &w.data
	for i := range d.side {
		d.side[i].content, d.side[i].crashed, d.side[i].peerOld = 1, false, false
	}
	d.stints = 1
}

// resynced is the end of a resync.
func (w *World) resynced() {
	d := &w.data
	for i := range d.side {
		s, o := &d.side[i], &d.side[1-i]
		if s.copy.Replication != "SyncTarget" || w.now < d.syncing {
			continue
		}
		s.disk, s.copy.Disk = upToDate, upToDate
		s.copy.Replication, o.copy.Replication = "Established", "Established"
		w.same()
		if w.story != nil {
			w.tell(i, "the data is up to date")
		}
		w.changed(i)
		w.changed(1 - i)
	}
}

// performStep is a command of the daemon. pending: it waits for the handler.
func (w *World) performStep(i int, step data.Step) (done, pending bool) {
	s, o := &w.data.side[i], &w.data.side[1-i]
	c := &s.copy
	switch step {
	case data.Up:
		w.attach(i)
		if w.still(ConnectFails, i) {
			c.Connection = standAlone
			w.changed(i)
			return false, false
		}
	case data.Connect:
		if c.Connection == standAlone {
			c.Connection = connecting
		}
	case data.Disconnect:
		w.lose(i)
		c.Connection = standAlone
	case data.Promote:
		if done, pending = w.promote(i, false); pending || !done {
			return done, pending
		}
	case data.Force:
		if done, pending = w.promote(i, true); pending || !done {
			return done, pending
		}
	case data.Demote:
		c.Role, c.Suspended = secondary, flowing
	case data.Outdate:
		if c.Connection == connected || c.Role == primary {
			return false, false
		}
		if c.Disk != inconsistent {
			c.Disk, s.disk = outdated, outdated
		}
	default:
		w.fail("data", "nobody knows how to "+step.String())
	}
	w.changed(i)
	if c.Connection == connected && o.copy.Connection == connected {
		w.changed(1 - i)
	}
	return true, false
}
