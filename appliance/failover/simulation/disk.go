package simulation

import (
	"time"

	"masthead/appliance/failover"
)

// disk holds the durable record in two slots: a write goes to the one that is not in force, so a power cut leaves the old
// record or the new one.
type disk struct {
	record  failover.Record // in force
	writing bool
	next    failover.Record
	began   time.Duration
	ends    time.Duration
	failed  bool
	full    int // faults
	slow    time.Duration
	unread  int
}

// tear is a power cut.
func (d *disk) tear(r *source) {
	if d.writing && !d.failed && r.chance(50) {
		d.record = d.next
	}
	d.writing = false
}

func (d *disk) left(w *World) time.Duration { return max(d.ends-w.now, time.Millisecond) }

// write puts a record on the disk; the daemon waits for it, and performs the rest of its decision only then.
func (w *World) write(i int, r failover.Record) {
	h := &w.heads[i]
	d := &h.disk
	took := w.rnd.between(200*time.Microsecond, 4*time.Millisecond) + d.slow
	d.writing, d.next, d.failed = true, r, d.full > 0
	d.began, d.ends = w.now, w.now+took
	if r.Epoch < d.record.Epoch {
		w.fail("I3", "the epoch on the disk of "+headNames[i]+" would go down from "+d.record.Epoch.String()+" to "+r.Epoch.String())
	}
	w.in(took, evDisk, i, h.machineGen)
}

// written is the end of a write. A daemon that stands still learns of it when it goes on.
func (w *World) written(i int) {
	h := &w.heads[i]
	d := &h.disk
	if !d.writing || h.paused || w.now < d.ends || h.running && h.stopped {
		return
	}
	d.writing = false
	if !d.failed {
		d.record = d.next
	}
	if !h.running {
		return // killed meanwhile: the kernel has finished the write
	}
	h.view.RecordErr = ""
	if d.failed {
		h.view.RecordErr = "no space left on device"
		if w.story != nil {
			w.tell(i, "the disk is full: epoch %v is not written", d.next.Epoch)
		}
		w.shut(i)
		return
	}
	if w.now-d.began > tickEvery {
		// The disk was slow, and the decision is as old as that: the next one says what holds now.
		w.settle(i, &h.last)
		w.step(i)
		return
	}
	w.perform(i, &h.last)
}
