package failover

import "time"

// follows keeps, in the record, since when this owner owns without the other head: who was away since then has older data.
// A head that is heard, and finds its own copy up to date, is away all the same while the writes do not reach it.
func (d *decider) follows() {
	m := d.m
	if len(d.peers) == 0 {
		return
	}
	with, silent := false, true
	for i := range d.peers {
		p := &d.peers[i]
		s := &p.Said
		with = with || p.alive && s.Yields == m.Epoch && d.v.Data != DataAlone && (d.v.Data == NoData || s.Data == DataUpToDate && d.v.Mirrored != Down)
		silent = silent && p.suspect
	}
	m.settled.keep(with, d.now)
	m.apart.keep(!with, d.now)
	switch alone := !d.rec.SoloSince.IsZero(); {
	// Data that has lost its other copy is frozen until the voters know of it: see word.
	case !alone && (silent || m.apart.since(d.now, d.t.Silence) || d.v.Data == DataAlone):
		d.solo()
	case alone && m.settled.since(d.now, d.t.Silence):
		d.rec.SoloSince = time.Time{}
	}
}

// solo notes that this head owns alone from now on.
func (d *decider) solo() {
	if !d.rec.SoloSince.IsZero() {
		return
	}
	// Equal times are equal terms: see older. Without a clock the epoch makes one.
	d.rec.SoloSince = time.Unix(int64(d.m.Epoch), 0).UTC()
	if !d.v.Wall.IsZero() {
		d.rec.SoloSince = d.v.Wall.UTC().Truncate(time.Millisecond)
	}
}

// record finishes the record. What is only bookkeeping waits for a disk that works.
func (d *decider) record() {
	v := d.v
	if d.m.disk.on && !(d.m.Phase == Promote) {
		*d.rec = v.Record
		return
	}
	if d.m.Phase == Promote || d.m.Phase == Active {
		if v.Self.DataUUID != "" {
			d.rec.DataUUID = v.Self.DataUUID
		}
	}
	d.rec.ClusterGen = max(d.rec.ClusterGen, v.Self.Gen)
	if *d.rec != v.Record {
		d.rec.BootID = v.Self.BootID
	}
}

// promised keeps what must never be: an epoch that goes down (I3).
func (d *decider) promised() {
	if d.rec.Epoch < d.v.Record.Epoch {
		*d.rec = d.v.Record
	}
}
