package monitor

import (
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// Delay is the time between the n-th check of a monitor and the next: its interval, more or less its random skew. It depends
// on nothing but the arguments, so that a schedule can be replayed from its seed.
func (m Monitor) Delay(seed, n uint64, failing bool) time.Duration {
	d := m.interval()
	if failing && m.FailureInterval > 0 {
		d = m.FailureInterval
	}
	if m.RandSkew > 0 {
		h := fnv.New64a()
		h.Write([]byte(m.Name))
		random := rand.New(rand.NewPCG(seed^h.Sum64(), n))
		d += time.Duration(random.Int64N(2*int64(m.RandSkew)+1)) - m.RandSkew
	}
	return max(d, minInterval)
}

// first is the time from when this head becomes the one that checks to the first check.
func (m Monitor) first(seed uint64) time.Duration {
	if m.StartDelay > 0 {
		return m.StartDelay
	}
	return m.Delay(seed, 0, false)
}

const (
	// minInterval keeps a mistaken configuration from loading the processor.
	minInterval = 100 * time.Millisecond
	// maxInterval is a year: what is checked less often is a mistake of units.
	maxInterval = 366 * 24 * time.Hour
)

func (m Monitor) interval() time.Duration {
	if m.Interval > 0 {
		return m.Interval
	}
	return DefaultInterval
}

func (m Monitor) timeout() time.Duration {
	if m.Timeout > 0 {
		return m.Timeout
	}
	return min(DefaultTimeout, m.interval())
}
