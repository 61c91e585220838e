package simulation

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"masthead/appliance/failover"
)

func TestOne(t *testing.T) {
	for _, x := range strings.Split(os.Getenv("ONE"), ",") {
		f := strings.SplitN(x, ":", 2)
		if len(f) != 2 {
			t.Skip("no ONE")
		}
		seed, _ := strconv.ParseUint(f[1], 10, 64)
		for _, sc := range Scenarios() {
			if sc.Name == strings.ReplaceAll(f[0], ";", ",") {
				p := NewPlayer(failover.Decide)
				r := p.Play(sc, seed)
				if r.Failure.Invariant == "" {
					fmt.Println(x, "passes")
					continue
				}
				if os.Getenv("RAW") != "" {
					fmt.Println(p.Tell(sc, seed, r.Schedule).Report())
					continue
				}
				fmt.Println(p.Shrink(r).Report())
			}
		}
	}
}
