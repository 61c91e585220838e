package data

import (
	"fmt"
	"strconv"
	"strings"
)

// Generations are by what DRBD 8.4 tells which of two copies is the newer: the line of `drbdadm get-gi` (drbdmeta(8)).
type Generations struct {
	Current uint64
	Bitmap  uint64 // of the other copy when the two were last the same; 0: they are
	History [2]uint64
	// Consistent and up to date; the last ones are that the whole of it is to be copied to the other one, and that the other one
	// is known to be the older.
	Consistent, UpToDate, Primary, Connected, FullSync, PeerOutdated, Crashed bool
}

// parseGenerations finds the line in what drbdadm printed.
func parseGenerations(out string) (Generations, error) {
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 6 || len(f[0]) != 16 {
			continue
		}
		var g Generations
		for i, to := range []*uint64{&g.Current, &g.Bitmap, &g.History[0], &g.History[1]} {
			n, err := strconv.ParseUint(f[i], 16, 64)
			if err != nil {
				return g, fmt.Errorf("generations of a copy: %q in %q is none", f[i], strings.TrimSpace(line))
			}
			*to = n
		}
		for i, to := range []*bool{&g.Consistent, &g.UpToDate, &g.Primary, &g.Connected, &g.FullSync, &g.PeerOutdated, &g.Crashed} {
			*to = 4+i < len(f) && f[4+i] == "1"
		}
		return g, nil
	}
	return Generations{}, fmt.Errorf("generations of a copy: none in %q", lastLines(out))
}

func (g Generations) String() string {
	s := fmt.Sprintf("%016X:%016X:%016X:%016X", g.Current, g.Bitmap, g.History[0], g.History[1])
	for _, flag := range []bool{g.Consistent, g.UpToDate, g.Primary, g.Connected, g.FullSync, g.PeerOutdated, g.Crashed} {
		if flag {
			s += ":1"
		} else {
			s += ":0"
		}
	}
	return s
}

// replaced is what a copy is that takes the place of g: as if this head had written to all of it since the two were last the
// same. The other copy, if it is still what it was then, becomes the target of a full resync; one that was written to since is
// a split brain, and both are kept (drbd_receiver.c, drbd_uuid_compare, rules 70 and 90). alone: no other copy is configured.
func (g Generations) replaced(current uint64, alone bool) Generations {
	const primaryBit = 1 // of a generation
	next := Generations{
		Current: current &^ primaryBit, Bitmap: g.Current &^ primaryBit, History: g.History,
		Consistent: true, UpToDate: true, FullSync: true, PeerOutdated: g.PeerOutdated || alone,
	}
	if g.Bitmap != 0 {
		next.Bitmap, next.History = g.Bitmap, [2]uint64{g.Current &^ primaryBit, g.History[0]}
	}
	return next
}

// recorded is the generation of a volume that a head's record names, as Standing.UUID has them: data:0123456789ABCDEE,mail:….
// Empty: that head had no data of it. A record without names is of all volumes.
func recorded(uuid, volume string) string {
	for one := range strings.SplitSeq(uuid, ",") {
		name, generation, named := strings.Cut(one, ":")
		if !named {
			return one
		}
		if name == volume {
			return generation
		}
	}
	return ""
}
