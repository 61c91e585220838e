package gossip

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// A schedule is what happens to simulated heads, and when. It is a function of its seed alone.
type schedule struct {
	Seed   uint64
	Heads  []string
	Steps  []step
	Length time.Duration
}

type step struct {
	At   time.Duration
	What string
	A, B string        // heads
	Key  string        // name of a node
	For  time.Duration // of a fault
	By   time.Duration // of a clock
	Net  weather
}

func (s step) String() string {
	return fmt.Sprintf("%v %s %s %s %s for %v by %v %+v", s.At.Round(time.Millisecond), s.What, s.A, s.B, s.Key, s.For, s.By, s.Net)
}

// Weights of what happens. Writes come in bursts, so that they meet one another and the faults.
var kinds = []struct {
	what   string
	weight int
}{
	{"burst", 40}, {"cut", 10}, {"cut one way", 7}, {"isolate", 5}, {"crash", 8}, {"crash in a commit", 4}, {"crash all", 1},
	{"clock", 5}, {"weather", 6}, {"concurrent", 6}, {"leave", 2}, {"eject", 2}, {"damage", 3}, {"remote", 6}, {"cross", 2},
}

// keyCount is small: writes of several heads meet on the same keys.
const keyCount = 24

// quiet is the longest time without a fault. Real clusters have years of it; what faults leave behind shows within
// minutes, and what is forgotten after a while (deletions, late copies of messages) within hours.
const quiet = 2 * time.Hour

// longest is more than what any fault lasts. After that and some time to spare all must be well.
const longest = 12 * time.Minute

func newSchedule(seed uint64, length time.Duration) schedule {
	rng := rand.New(rand.NewPCG(seed, 0x6d617374))
	s := schedule{Seed: seed, Length: length, Heads: []string{"a", "b", "c", "d"}[:2+rng.IntN(3)]}
	total := 0
	for _, k := range kinds {
		total += k.weight
	}
	pick := func() string {
		n := rng.IntN(total)
		for _, k := range kinds {
			if n -= k.weight; n < 0 {
				return k.what
			}
		}
		panic("unreachable")
	}
	head := func() string { return s.Heads[rng.IntN(len(s.Heads))] }
	upTo := func(d time.Duration) time.Duration { return time.Duration(rng.Int64N(int64(d))) }
	key := func() string { return fmt.Sprintf("n%02d", rng.IntN(keyCount)) }
	// Things happen in groups: faults that overlap, then a long quiet time.
	for at := upTo(time.Minute); at < length; {
		for range 3 + rng.IntN(12) {
			st := step{At: at, What: pick(), A: head(), B: head(), Key: key(), For: upTo(30 * time.Second)}
			switch st.What {
			case "burst":
				for range 1 + rng.IntN(6) {
					w := step{At: at + upTo(2*time.Second), What: "write", A: head(), Key: key()}
					if rng.IntN(4) == 0 {
						w.What = "delete"
					}
					s.Steps = append(s.Steps, w)
				}
				at += upTo(5 * time.Second)
				continue
			case "clock":
				st.By = []time.Duration{time.Hour, -time.Hour, 12 * time.Second, -12 * time.Second, 8 * time.Second}[rng.IntN(5)]
				st.For = upTo(10 * time.Minute)
			case "weather":
				st.Net = weather{Loss: rng.Float64() * 0.3, Twice: rng.Float64() * 0.5, Delay: upTo(400 * time.Millisecond), Late: upTo(length)}
			case "cut", "cut one way", "isolate", "cross", "crash":
				if rng.IntN(6) == 0 { // longer than it takes until deletions may be forgotten
					st.For = upTo(10 * time.Minute)
				}
			case "concurrent":
				st.Key = fmt.Sprintf("c%04d", len(s.Steps))
			}
			s.Steps = append(s.Steps, st)
			at += upTo(10 * time.Second)
		}
		last := at
		at += upTo(quiet)
		if gap := at - last; gap > longest && at < length {
			s.Steps = append(s.Steps, step{At: at - time.Second, What: "look"})
		}
	}
	slices.SortStableFunc(s.Steps, func(a, b step) int { return int(a.At - b.At) })
	return s
}
