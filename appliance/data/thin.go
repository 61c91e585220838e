package data

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"masthead/appliance/failover"
)

// A volume `data` beneath which there is thin LVM has these logical volumes in the pool of its group:
//
//	data                          what DRBD has
//	data.20260102-150405-manual   its snapshots
//	data.next                     a state to go back to, while it is made ready

// Move is what is to be done about the logical volume of a copy.
type Move struct {
	Kind MoveKind
	Argv []string
	Why  string
}

// MoveKind is what a Move may do.
type MoveKind uint8

const (
	Stands  MoveKind = iota // nothing: the volume can be used
	Mend                    // finish or undo what was begun; nothing that was written is lost
	Make                    // take what is blank
	Foreign                 // nothing: what is there is not masthead's, or not whole
)

// volumeShare is how much of a pool a volume gets that asks for no size, in percent. The rest is for what changes while there
// are snapshots: without them a pool cannot become full.
const volumeShare = 70

// move says what is to be done next about the logical volume of v on a device. blank: there is nothing on it; else g is the
// group there, nil for none.
func (v Volume) move(device, group string, blank bool, g *Group) Move {
	do := func(kind MoveKind, program string, args ...string) Move {
		return Move{Kind: kind, Argv: lvm(device, program, args...)}
	}
	foreign := func(format string, args ...any) Move { return Move{Kind: Foreign, Why: fmt.Sprintf(format, args...)} }
	switch {
	case g == nil && blank:
		return do(Make, "vgcreate", "--addtag", groupTag, group, device) // it asks before it wipes anything, and nobody says yes
	case g == nil:
		return foreign("the device holds something that is no volume group of masthead's")
	case !slices.Contains(g.Tags, groupTag):
		return foreign("the device belongs to the volume group %s, which is not masthead's", g.Name)
	case g.Name != group:
		return foreign("its volume group is %s and should be %s: `vgrename %[1]s %[2]s` if it is this cluster's", g.Name, group)
	}
	pool, live := g.named(poolName), g.named(v.Name)
	switch {
	case pool == nil && len(g.Volumes) > 0:
		return foreign("the volume group %s has no pool", group)
	case pool == nil:
		return do(Make, "lvcreate", "--yes", "--type", "thin-pool", "--extents", "100%FREE", "--name", poolName, group)
	case live == nil:
		return v.moveMissing(do, foreign, g, *pool)
	case live.Suspended:
		return do(Mend, "lvchange", "--refresh", group+"/"+v.Name)
	}
	for _, l := range g.Volumes {
		switch {
		case l.Name == v.next():
			return do(Mend, "lvremove", "--yes", group+"/"+l.Name)
		case l.Name == v.Name || !v.owns(l.Name):
		case len(wishes(l.Tags)) > 0:
			return Move{Kind: Mend, Argv: v.becomesSnapshot(device, group, l)}
		}
	}
	if !live.Active {
		return do(Mend, "lvchange", "--activate", "y", group+"/"+v.Name)
	}
	return Move{}
}

// moveMissing is for a group without the volume: going back was interrupted between two names, or it is new.
func (v Volume) moveMissing(do func(MoveKind, string, ...string) Move, foreign func(string, ...any) Move, g *Group, pool Logical) Move {
	for _, l := range g.Volumes {
		if v.owns(l.Name) && len(wishes(l.Tags)) > 0 {
			return do(Mend, "lvrename", g.Name, l.Name, v.Name)
		}
	}
	rest := pool.Size
	for _, l := range g.Volumes {
		if v.owns(l.Name) {
			return foreign("the logical volume %s/%s is gone, and its snapshots are there: `lvrename` makes one of them the volume", g.Name, v.Name)
		}
		if l.Name != poolName && !strings.Contains(l.Name, ".") {
			rest -= l.Size
		}
	}
	size := pool.Size / 100 * volumeShare
	if v.Size != "" {
		size = withMeta(kibi(v.Size) << 10)
	}
	if size > rest {
		return foreign("size %s: the pool on the device has room for %s", v.Size, amount(rest>>10))
	}
	return do(Make, "lvcreate", "--yes", "--type", "thin", "--thinpool", poolName, "--virtualsize", fmt.Sprintf("%db", size&^511), "--name", v.Name, g.Name)
}

// withMeta is size and what DRBD keeps for itself behind that: a bit for 4 KiB, and its activity log (drbdmeta, internal).
func withMeta(size int64) int64 { return size + size/(4<<10*8) + 1<<20 }

func (v Volume) next() string { return v.Name + ".next" }

// kept is the logical volume of a snapshot.
func (v Volume) kept(snapshot string) string { return v.Name + "." + snapshot }

// owns reports whether a logical volume is this one's, or a snapshot of it.
func (v Volume) owns(logical string) bool {
	return logical == v.Name || strings.HasPrefix(logical, v.Name+".")
}

// snapshots are those of the volume, oldest first.
func (v Volume) snapshots(g *Group) (all []Snapshot) {
	for _, l := range g.Volumes {
		rest, ok := strings.CutPrefix(l.Name, v.Name+".")
		if one, is := parseSnapshot(rest); ok && is {
			all = append(all, one)
		}
	}
	slices.SortFunc(all, func(a, b Snapshot) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// takes makes a snapshot: read-only, and without a device until somebody looks at it. A second file system with the same UUID
// would else be found at each boot.
func (v Volume) takes(device, group, snapshot string) []string {
	return lvm(device, "lvcreate", "--yes", "--snapshot", "--permission", "r", "--setactivationskip", "y", "--name", v.kept(snapshot), group+"/"+v.Name)
}

// becomesSnapshot makes the next snapshot of what the volume was before it went back.
func (v Volume) becomesSnapshot(device, group string, was Logical) []string {
	name := group + "/" + was.Name
	if was.Active {
		return lvm(device, "lvchange", "--activate", "n", name)
	}
	args := []string{"--permission", "r", "--setactivationskip", "y"}
	for _, w := range wishes(was.Tags) {
		args = append(args, "--deltag", w.tag())
	}
	return lvm(device, "lvchange", append(args, name)...)
}

// copies makes a volume of a snapshot, which stays what it is.
func (v Volume) copies(device, group, snapshot string) []string {
	return lvm(device, "lvcreate", "--yes", "--snapshot", "--permission", "rw", "--setactivationskip", "n", "--name", v.next(), group+"/"+v.kept(snapshot))
}

// leftovers are the commands that undo what a daemon that was killed has left of its work on a volume that is in use.
func (v Volume) leftovers(device string, g *Group) (all [][]string) {
	for _, l := range g.Volumes {
		_, snapshot := parseSnapshot(strings.TrimPrefix(l.Name, v.Name+"."))
		switch {
		case l.Name == v.Name && l.Suspended:
			all = append(all, v.resumes(device, g.Name))
		case v.owns(l.Name) && snapshot && l.Active && len(wishes(l.Tags)) == 0:
			all = append(all, lvm(device, "lvchange", "--activate", "n", g.Name+"/"+l.Name))
		}
	}
	return all
}

// resumes has the I/O of a volume go on, which a program of LVM that did not come to its end has left waiting.
func (v Volume) resumes(device, group string) []string {
	return lvm(device, "lvchange", "--refresh", group+"/"+v.Name)
}

// Wish is that of a person to go back to a snapshot. It is for the owner's term in which it was said: another head may have
// written since.
type Wish struct {
	Snapshot string
	Epoch    failover.Epoch
}

const wishTag = "back:"

// tag is how the logical volume carries it, so that it outlives this program.
func (w Wish) tag() string { return fmt.Sprintf("%s%d:%s", wishTag, w.Epoch, w.Snapshot) }

func wishes(tags []string) (all []Wish) {
	for _, t := range tags {
		rest, ok := strings.CutPrefix(t, wishTag)
		epoch, snapshot, two := strings.Cut(rest, ":")
		n, err := strconv.ParseUint(epoch, 10, 64)
		if _, is := parseSnapshot(snapshot); ok && two && err == nil && is {
			all = append(all, Wish{snapshot, failover.Epoch(n)})
		}
	}
	return all
}

// notBack is why a copy does not go back now; empty: it does. The other copy is made anew from this one afterwards, so it has
// all that this one has before, or is known to be the older.
func (l Look) notBack(v View) string {
	c := l.Copy
	switch {
	case v.Record.Epoch != l.Back.Epoch || v.Record.Owner != v.Self:
		return "it was asked for under another epoch, and what was written since would be lost"
	case c.Disk != upToDate:
		return "this copy is not up to date"
	case v.Peer.Name == "":
		return ""
	case c.Connected() && c.PeerRole == primary:
		return v.Peer.Name + " writes to its copy"
	case c.Connected() && (c.Syncing() || c.PeerDisk != upToDate):
		return "the other copy is being brought up to date"
	case !c.Connected() && c.PeerDisk != outdated && c.PeerDisk != inconsistent:
		return "the other copy is not connected, and nobody knows what it has"
	case l.Note.Diverged:
		return "both copies were written to by themselves"
	}
	return ""
}
