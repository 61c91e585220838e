package data

import (
	"cmp"
	"time"

	"masthead/appliance/failover"
)

// Step is one thing to do to a volume.
type Step uint8

const (
	Wait       Step = iota
	Inspect         // look what is on the device
	CreateMeta      // make a copy of a blank device
	Up              // give it to the kernel
	Attach
	Connect
	Disconnect // by force: the peer is dead, or acts as if
	Promote
	Create // the first promotion of all: nothing was ever written to either copy
	Force  // the same of an older copy, on a person's word: what it lacks is lost
	Demote
	Outdate // tell the own copy that it is the older one
	Tune    // tell the kernel what the configuration says of a copy that it has from before
	Down    // have the kernel let go of it: the configuration does not have the volume any more, or the kernel has half of it
	GoBack  // put an earlier state in the place of the copy, of which the other one is made anew
)

func (s Step) String() string {
	return [...]string{"wait", "inspect", "create-md", "up", "attach", "connect", "disconnect", "primary", "primary --force", "primary --force", "secondary", "outdate", "disk-options", "down", "go back"}[min(int(s), 14)]
}

// Next says what is to be done to a copy now, and why it waits if nothing is.
func (l Look) Next(v View) (Step, string) {
	c := l.Copy
	if !c.There {
		switch l.Meta {
		case MetaUnknown:
			return Inspect, "nobody has looked at the device yet"
		case MetaBlank:
			return CreateMeta, "the device is blank"
		case MetaForeign:
			return Wait, cmp.Or(l.Foreign, "the device holds something that is not ours")
		}
		return Up, ""
	}
	if c.Role == primary && l.Want == WantSecondary {
		return Demote, ""
	}
	if c.half() {
		return Down, "DRBD has half of it: no device"
	}
	if c.Disk == "Diskless" {
		return Attach, "" // a disk that failed stays detached until a person, or the next boot
	}
	alone := c.StandsAlone() && v.Peer.Name != ""
	if c.Role != primary && l.Want == WantPrimary {
		if l.Back != (Wish{}) {
			return GoBack, "a person wants " + l.Back.Snapshot
		}
		step, why := l.promotion(v)
		if step == Wait && alone && !l.Note.Diverged {
			return Connect, why // what it waits for comes from the other copy: `up` may have failed on the way there
		}
		return step, why
	}
	switch {
	case alone && l.Note.Diverged && c.Role == primary && l.Split != 0 && v.Now-l.Split < splitAgain:
		return Wait, ownSplit
	case alone && (!l.Note.Diverged || c.Role == primary):
		return Connect, ""
	case c.Role != primary && !c.Connected() && (c.Disk == upToDate || c.Disk == consistent) && l.left(v):
		return Outdate, v.Peer.Name + " owns the cluster and writes without this copy"
	case l.Note.Diverged && c.Role != primary:
		return Wait, "both copies were written to by themselves: a person says which one counts (`masthead data show-divergence`)"
	case !l.Tuned && c.Disk != "":
		return Tune, ""
	case l.Note.Diverged && v.Peer.Name != "":
		return Wait, ownSplit
	}
	return Wait, ""
}

// splitAgain is the pause before the copy that is written to is connected again after a split. The other one stands alone by then,
// until a person has said which counts, and this one waits for it. If it does not know of the split yet, both compare once more:
// DRBD drops the connection on the head that is done first, which may be before the other one has compared at all, and never tells
// that one.
const splitAgain = 10 * time.Second

// ownSplit is how the copy that counts for now stands after a split.
const ownSplit = "both copies were written to by themselves: the other one is set aside until a person says which one counts (`masthead data show-divergence`)"

// left: the owner is heard to go on without this copy, later than this copy lost it, and this head agrees that it owns.
func (l Look) left(v View) bool {
	p := v.Peer
	return p.Said.Phase.Holds() && p.Said.Data == failover.DataAlone && p.Heard > l.Lost &&
		p.Said.Acting == v.Record.Epoch && v.Record.Owner == p.Name
}

// promotion is what makes a copy the one that is written to.
func (l Look) promotion(v View) (Step, string) {
	c, p := l.Copy, v.Peer
	if v.Word.Forced && !c.Connected() && (c.Disk == consistent || c.Disk == outdated || c.Disk == inconsistent && l.Meta == MetaThere) {
		return Force, ""
	}
	switch c.Disk {
	case upToDate, consistent:
	case inconsistent:
		switch {
		case l.Meta != MetaNew || c.Syncing():
			return Wait, "its copy is not whole"
		case p.Name == "" && v.Elsewhere&l.Bit() == 0:
			return Create, ""
		case c.Connected() && c.PeerDisk == inconsistent:
			// DRBD has compared them: had the other one anything, this one would be the target of a resync.
			return Create, ""
		}
		return Wait, "the volume is new: it is made when the copy of " + p.Name + " is there too, or by `masthead data create`"
	default:
		return Wait, "its copy is " + c.Disk
	}
	switch {
	case !c.Connected() || c.PeerRole == secondary && p.Alive:
		return Promote, ""
	case p.Alive && c.PeerRole == primary:
		return Wait, p.Name + " still writes to its copy"
	}
	return Disconnect, p.Name + " is gone"
}

// Exit codes of DRBD's fence-peer handler (drbd.conf(5)). 5, "the peer is unreachable and assumed to be dead", is never
// given: that nobody answers proves nothing.
const (
	ExitUnknown  = 1 // writes stay frozen
	ExitOutdated = 4 // the other copy counts as older now
	ExitPrimary  = 6 // the other one is primary, with more right: this copy is the older
	ExitFenced   = 7 // the other machine is off, or cannot own before it has followed
)

// Answer is what DRBD is told when it asks whether the other head may still write.
func Answer(w failover.Word) int {
	switch {
	case w.Yield:
		return ExitPrimary
	case w.Go && w.Outdated:
		return ExitOutdated
	case w.Go:
		return ExitFenced
	}
	return ExitUnknown
}
