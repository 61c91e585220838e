package data

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Schedule makes snapshots of a volume, and removes old ones.
type Schedule struct {
	Every string `yaml:"every" json:"every"` // 15m, 1h, 24h
	Keep  int    `yaml:"keep" json:"keep"`   // of these, the newest
}

func (s Schedule) problem() string {
	every, err := time.ParseDuration(s.Every)
	switch {
	case err != nil:
		return "want a time: 15m, 1h, 24h"
	case every < time.Minute:
		return "want a minute or more"
	case s.Keep < 1:
		return "keep: want 1 or more"
	}
	return ""
}

// Kinds of snapshots: why there are any. Those of a schedule are of kind every-1h.
const (
	KindManual   = "manual"
	KindResync   = "resync"   // before the other copy is brought up to date
	KindUpgrade  = "upgrade"  // before the head's image is replaced
	KindRollback = "rollback" // what there was before a rollback
	kindEvery    = "every-"
)

// kindsKept are how many there are of a kind that masthead makes by itself. A person's are for a person to remove.
var kindsKept = map[string]int{KindResync: 3, KindUpgrade: 3}

// Snapshot is one state of a volume.
type Snapshot struct {
	Name string
	Kind string
	Time time.Time
}

// snapshotTime begins the names of snapshots: they sort by time, and are no trouble on a command line.
const snapshotTime = "20060102-150405"

// snapshotName is the name of a snapshot of a kind, or with a person's own word for it.
func snapshotName(at time.Time, kind string) string {
	return at.UTC().Format(snapshotTime) + "-" + kind
}

// parseSnapshot is its inverse. ok is false for what is no snapshot of ours.
func parseSnapshot(name string) (s Snapshot, ok bool) {
	if len(name) < len(snapshotTime)+2 || name[len(snapshotTime)] != '-' {
		return Snapshot{}, false
	}
	at, err := time.Parse(snapshotTime, name[:len(snapshotTime)])
	kind := name[len(snapshotTime)+1:]
	if err != nil || !nameForm.MatchString(kind) {
		return Snapshot{}, false
	}
	return Snapshot{Name: name, Kind: kind, Time: at}, true
}

// Plan says which snapshots are due at now, by their kinds, and which are to be removed when those are made.
func Plan(now time.Time, have []Snapshot, schedules []Schedule) (make, remove []string) {
	make = due(now, have, schedules)
	return make, surplus(have, schedules, make)
}

// due are the kinds of which there is to be another one. One that is younger than its schedule wants, or from the future by a
// clock that was wrong, is not made again before its time.
func due(now time.Time, have []Snapshot, schedules []Schedule) (kinds []string) {
	for _, s := range schedules {
		every, err := time.ParseDuration(s.Every)
		if err != nil || s.Keep < 1 {
			continue // Check has said so
		}
		newest := time.Time{}
		for _, h := range have {
			if h.Kind == s.kind() && h.Time.After(newest) {
				newest = h.Time
			}
		}
		if age := now.Sub(newest); newest.IsZero() || age >= every || age < -every {
			kinds = append(kinds, s.kind())
		}
	}
	return kinds
}

func (s Schedule) kind() string { return kindEvery + strings.ToLower(s.Every) }

// surplus are the snapshots that are more than is kept of their kinds, when one of each of the kinds made has come to them.
func surplus(have []Snapshot, schedules []Schedule, made []string) (remove []string) {
	keep := maps.Clone(kindsKept)
	for _, s := range schedules {
		if s.problem() == "" {
			keep[s.kind()] = s.Keep
		}
	}
	byKind := map[string][]Snapshot{}
	for _, h := range have {
		byKind[h.Kind] = append(byKind[h.Kind], h)
	}
	for kind, all := range byKind {
		n, ours := keep[kind]
		if !ours {
			if !strings.HasPrefix(kind, kindEvery) {
				continue
			}
			n = 0 // of a schedule that is gone
		}
		if slices.Contains(made, kind) {
			n--
		}
		slices.SortFunc(all, func(a, b Snapshot) int { return cmp.Or(b.Time.Compare(a.Time), strings.Compare(b.Name, a.Name)) })
		for _, s := range all[min(max(n, 0), len(all)):] {
			remove = append(remove, s.Name)
		}
	}
	slices.Sort(remove)
	return remove
}

// Difference is a file that is not the same in two states of a volume.
type Difference struct {
	What string `json:"what"` // added, removed, changed
	Path string `json:"path"`
	Size int64  `json:"size"`
}

func (d Difference) String() string { return fmt.Sprintf("%-8s %s", d.What, d.Path) }
