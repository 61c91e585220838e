package data

import (
	"fmt"
	"slices"
	"strings"
)

const (
	// tightPool is from where no snapshots are made, in percent of the pool's room or of that for its metadata: what has changed
	// since the others still wants room.
	tightPool = 80
	// fullPool is from where masthead removes snapshots that it has made by itself. A pool that is full costs the head its copy.
	fullPool = 90
)

// Pool is how full a pool is.
type Pool struct {
	Size           int64   // bytes
	Used, MetaUsed float64 // percent; negative: not known
}

func (g *Group) pool() Pool {
	if p := g.named(poolName); p != nil {
		return Pool{p.Size, p.Used, p.MetaUsed}
	}
	return Pool{Used: -1, MetaUsed: -1}
}

// most is the fuller of its two parts.
func (p Pool) most() float64 { return max(p.Used, p.MetaUsed) }

// refuses is why no snapshot is to be made when so many bytes are about to be written over; empty: one may be.
func (p Pool) refuses(change int64) string {
	switch {
	case p.Used < 0 || p.Size <= 0:
		return "nobody knows how full its pool is"
	case p.most() >= tightPool:
		return fmt.Sprintf("its pool is %.0f %% full, and from %d %% on no snapshots are made", p.most(), tightPool)
	case p.Used+float64(change)/float64(p.Size)*100 >= fullPool:
		return fmt.Sprintf("its pool is %.0f %% full, and has no room for another %s", p.Used, amount(change>>10))
	}
	return ""
}

// warns is what a person should know; empty: nothing.
func (p Pool) warns() string {
	switch m := p.most(); {
	case m >= fullPool:
		return fmt.Sprintf("the pool of its snapshots is %.0f %% full: when it is full this head loses its copy (`masthead snapshot rm`)", m)
	case m >= tightPool:
		return fmt.Sprintf("the pool of its snapshots is %.0f %% full (`masthead snapshot rm`)", m)
	}
	return ""
}

// spare is the snapshot that is removed first when the pool is full: the oldest of those that masthead makes by itself. A
// person's, and what there was before a rollback, are for a person to remove. stays: those that are in use.
func spare(have []Snapshot, stays func(name string) bool) (name string, ok bool) {
	i := slices.IndexFunc(have, func(s Snapshot) bool {
		_, own := kindsKept[s.Kind]
		return (own || strings.HasPrefix(s.Kind, kindEvery)) && !stays(s.Name)
	})
	if i < 0 {
		return "", false
	}
	return have[i].Name, true
}
