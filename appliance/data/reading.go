package data

import "masthead/appliance/failover"

// View is what the owner daemon knows, as far as a copy is concerned.
type View struct {
	Self   string          // this head
	Record failover.Record // on this head's disk
	// Known is the highest epoch under which another head is known to have owned, by the voters' word: this head may have
	// heard nothing of it.
	Known failover.Epoch
	// Peer is the other head with a copy; zero: none is configured.
	Peer PeerView
	// Elsewhere are the volumes of which another head is known to have, or to have had, data. A blank copy here is an old one
	// then.
	Elsewhere failover.Volumes
	Word      failover.Word
	Now       failover.Instant
}

// PeerView is the other head as the heartbeats show it.
type PeerView struct {
	Name  string
	Alive bool             // heard lately
	Heard failover.Instant // when last
	Said  failover.Said
}

// Note is what a head remembers of its copy for as long as it is up.
type Note struct {
	// Epoch: under this epoch's owner the copy was last connected, or written to. What another owner wrote later it lacks.
	// 0: it is not known, or another one has owned since.
	Epoch failover.Epoch `json:"epoch"`
	// Diverged: DRBD found that both copies were written to by themselves. The one that is written to goes on, the other is set
	// aside.
	Diverged bool `json:"diverged,omitempty"`
}

// Disk states of DRBD.
const (
	upToDate     = "UpToDate"
	consistent   = "Consistent"
	outdated     = "Outdated"
	inconsistent = "Inconsistent"
)

// Roles of DRBD.
const (
	primary   = "Primary"
	secondary = "Secondary"
)

// Look is all that is known of a copy.
type Look struct {
	Volume string // its name
	Minor  int    // number of its device
	Copy   Copy
	Note   Note
	Meta   Meta
	Want   Want
	Lost   failover.Instant // since when it is not connected
	Split  failover.Instant // when DRBD last said to this daemon what is in Note.Diverged; 0: it has not
	// Tuned: the kernel has the options that the configuration says.
	Tuned bool
	// Foreign says what of a device is not masthead's, where that is known.
	Foreign string
	// Back is a state that a person wants to have again; zero: none.
	Back Wish
	// WentBack is the owner's term in which this daemon has put an earlier state in the place of the copy; 0: it has not, or the
	// copy was written to or connected since.
	WentBack failover.Epoch
}

// Meta is what is on a copy's device.
type Meta uint8

const (
	MetaUnknown Meta = iota // nobody has looked yet, or it cannot be read
	MetaBlank               // nothing at all
	MetaForeign             // something else than a copy: it is left alone
	MetaNew                 // a copy that nothing was ever written to
	MetaThere               // a copy
)

// Want is what is to become of a copy.
type Want uint8

const (
	WantNothing   Want = iota // what it is: the daemon has just started
	WantSecondary             // follow
	WantPrimary               // be written to
)

// Bit is the volume as one of several.
func (l Look) Bit() failover.Volumes { return 1 << l.Minor }

// writes: it is written to here, or is to be.
func (l Look) writes() bool { return l.Copy.Role == primary || l.Want == WantPrimary }

// Reading is how the copy stands, for the decision who owns.
func (l Look) Reading(v View) failover.Data {
	c := l.Copy
	if l.Note.Diverged && c.Role != primary {
		return failover.DataDiverged
	}
	if !c.There {
		if l.Meta == MetaBlank {
			return l.blank(v)
		}
		return failover.DataUnknown
	}
	switch c.Disk {
	case upToDate:
	case inconsistent:
		if l.Meta == MetaNew && !c.Syncing() {
			return l.blank(v)
		}
		return failover.DataSyncing
	case outdated:
		return failover.DataOutdated
	case consistent:
		if l.replaced(v) {
			return failover.DataAlone
		}
		return failover.DataUnknown // after a boot: nobody knows what the other one has done meanwhile
	default: // no disk
		return failover.DataUnknown
	}
	switch {
	case c.Connected():
		return failover.DataUpToDate
	case l.writes():
		return failover.DataAlone
	case c.PeerDisk == outdated, c.PeerDisk == inconsistent:
		return failover.DataUpToDate // it wrote alone, and DRBD remembers
	case v.Peer.Name == "":
		return failover.DataUpToDate // the only one
	case l.missed(v) || l.Note.Epoch == 0 && v.Record.Epoch != 0:
		return failover.DataUnknown // another head has owned since, and this copy was not connected
	}
	return failover.DataUpToDate
}

// Parted: it is written to here, or is to be, without the other copy. What nothing was ever written to needs no other copy.
func (l Look) Parted(v View) bool {
	return l.writes() && !l.Copy.Connected() && l.Reading(v) != failover.NoData
}

// Older: the disk itself says that another copy is newer. That lasts until the copy has been connected to that one again.
func (l Look) Older() bool { return l.Copy.Disk == outdated || l.Copy.Disk == inconsistent }

// replaced: the owner has gone back, and the other copy was not seen since. DRBD takes a copy that was given to it anew for
// uncertain, and so it is where anything else did that: after a boot, or when a disk comes back that has missed writes. This one
// is what the owner has made it under the present epoch, as if it had written all of it: no older than it was before.
func (l Look) replaced(v View) bool {
	return l.WentBack != 0 && l.WentBack == v.Record.Epoch && v.Record.Owner == v.Self && l.Note.Epoch == v.Record.Epoch &&
		l.Want == WantPrimary && !l.Copy.Connected() && !l.missed(v)
}

// missed: another head has owned under a later epoch than that of the note. Own epochs take nothing away from the own copy,
// and the voters know of them before they are on this head's disk.
func (l Look) missed(v View) bool {
	foreign := v.Known
	if v.Record.Owner != v.Self {
		foreign = max(foreign, v.Record.Epoch)
	}
	return l.Note.Epoch < foreign
}

// blank is a copy that nothing was ever written to: as good as none, unless others have written to theirs.
func (l Look) blank(v View) failover.Data {
	if v.Elsewhere&l.Bit() != 0 || recorded(v.Record.DataUUID, l.Volume) != "" {
		return failover.DataOutdated
	}
	return failover.NoData
}

// HasData reports whether a head has, or had, data of a volume of which it reads that. Outdated or unknown may be a blank copy.
func HasData(d failover.Data) bool {
	switch d {
	case failover.DataUpToDate, failover.DataAlone, failover.DataSyncing, failover.DataDiverged:
		return true
	}
	return false
}

// Worst is what several volumes are together: a head without one of them is no owner. It says nothing of a single one of them.
func Worst(all ...failover.Data) failover.Data {
	order := []failover.Data{
		failover.NoData, failover.DataUpToDate, failover.DataAlone, failover.DataSyncing, failover.DataOutdated, failover.DataUnknown, failover.DataDiverged,
	}
	worst := 0
	for _, d := range all {
		for i, o := range order {
			if o == d {
				worst = max(worst, i)
			}
		}
	}
	return order[worst]
}

// Noted is the note of a copy as it is to be kept.
func (l Look) Noted(v View) Note {
	n, c := l.Note, l.Copy
	switch {
	case c.Disk == upToDate && (c.Connected() || c.Role == primary):
		n.Epoch = max(n.Epoch, v.Record.Epoch)
	case l.missed(v):
		n.Epoch = 0 // an own epoch after that one would hide it
	}
	n.Diverged = n.Diverged && !c.Together()
	return n
}

// Found is the copy after DRBD has said at now that both were written to by themselves.
func (l Look) Found(now failover.Instant) Look {
	l.Note.Diverged, l.Split = true, now
	return l
}
