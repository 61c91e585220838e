package data

import (
	"context"
	"strings"
	"time"

	"masthead/appliance/failover"
)

// pace measures a resync or a verification: how much is left, and how fast it goes.
type pace struct {
	kind string // the replication state it is of
	all  int64  // KiB at its beginning
	left int64
	at   failover.Instant
	rate float64 // KiB a second, smoothed
}

// take takes a measurement at now.
func (p *pace) take(kind string, left int64, now failover.Instant) {
	if kind != p.kind || left > p.all {
		*p = pace{kind: kind, all: left, left: left, at: now}
		return
	}
	if took := now - p.at; took >= time.Second/2 {
		const newer = 0.4 // of a measurement beside those before: some seconds are what people want to see
		rate := float64(p.left-left) / took.Seconds()
		if p.rate == 0 {
			p.rate = rate
		}
		p.rate += newer * (rate - p.rate)
		p.left, p.at = left, now
	}
}

// done is how much of it is done, in percent.
func (p *pace) done() float64 {
	if p.all == 0 {
		return 0
	}
	return 100 * float64(p.all-p.left) / float64(p.all)
}

// remaining is how long it takes yet; 0: nobody knows.
func (p *pace) remaining() time.Duration {
	if p.rate <= 0 {
		return 0
	}
	return time.Duration(float64(p.left) / p.rate * float64(time.Second))
}

// measure asks DRBD how far a resync is, which it says only when it is asked.
func (s *Set) measure(ctx context.Context, v *volume) {
	s.mu.Lock()
	busy := v.look.Copy.Syncing()
	there := v.look.Copy.There
	uuid := v.look.Copy.Disk != "" && (v.uuid == "" || v.uuidFor != v.look.Copy.generationOf())
	if uuid {
		v.uuidFor = v.look.Copy.generationOf()
	}
	s.mu.Unlock()
	if there && uuid {
		if err := s.inspect(ctx, v); err != nil {
			s.cfg.Log.Debug("generation of a copy", "volume", v.Name, "err", err) // asked again at the next change
		}
	}
	if !busy {
		return
	}
	out, err := s.cfg.Tools.Run(ctx, nil, "drbdsetup", "events2", "--now", "--statistics", v.Name)
	if err != nil {
		return // the resync may just have ended
	}
	var now Copy
	if readEvents(strings.NewReader(out), now.Apply) != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v.look.Copy.OutOfSync, v.look.Copy.Done = now.OutOfSync, now.Done
	if now.Size > 0 {
		v.look.Copy.Size = now.Size
	}
	left := now.OutOfSync
	if strings.HasPrefix(now.Replication, "Verify") && now.Done >= 0 {
		left = int64(float64(now.Size) * (100 - now.Done) / 100)
	}
	v.pace.take(now.Replication, left, s.cfg.Now())
}

// generationOf is what a new generation of the data comes with.
func (c Copy) generationOf() string { return c.Role + c.Disk + c.PeerDisk + c.Connection }
