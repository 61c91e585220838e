package simulation

import (
	"fmt"
	"os"
	"sort"
	"strconv"
	"testing"
	"time"

	"masthead/appliance/failover"
)

func TestSurvey(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("SURVEY"))
	if n == 0 {
		t.Skip("no SURVEY")
	}
	p := NewPlayer(failover.Decide)
	for _, sc := range chosen() {
		bad := map[string]int{}
		first := map[string]Result{}
		begin := time.Now()
		var took time.Duration
		var steps uint64
		for s := range uint64(n) {
			r := p.Play(sc, s+1)
			took += r.Took
			steps += r.Steps
			if k := r.Failure.Invariant; k != "" {
				k += " " + r.Failure.Text
				bad[k]++
				if _, ok := first[k]; !ok {
					first[k] = r
				}
			}
		}
		fmt.Printf("## %s: %.0f/s, %v and %d steps each, lost %d\n", sc.Name, float64(n)/time.Since(begin).Seconds(), took/time.Duration(n), steps/uint64(n), p.world.lost)
		var keys []string
		for k := range bad {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		for _, k := range keys {
			fmt.Printf("   %4d %s (seed %d)\n", bad[k], k, first[k].Seed)
		}
		if os.Getenv("TELL") != "" {
			for _, k := range keys {
				fmt.Println(p.Shrink(first[k]).Report())
			}
		}
	}
}
