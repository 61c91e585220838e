package module

import (
	"fmt"
	"slices"
	"strings"
)

// ranks sorts the modules so that each comes before what it depends on, by the very steps of depmod
// (depmod_calculate_dependencies), because their order shows in modules.dep.
func (x *Index) ranks() ([]int, error) {
	users := make([]int, len(x.Modules))
	for _, m := range x.Modules {
		for _, d := range m.Deps {
			users[d]++
		}
	}
	var ready []int
	for i, n := range users {
		if n == 0 {
			ready = append(ready, i)
		}
	}
	rank := make([]int, len(x.Modules))
	n := 0
	for len(ready) > 0 {
		i := ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		rank[i] = n
		n++
		for _, d := range x.Modules[i].Deps {
			if users[d]--; users[d] == 0 {
				ready = append(ready, d)
			}
		}
	}
	if n < len(x.Modules) {
		var cycle []string
		for i, left := range users {
			if left > 0 {
				cycle = append(cycle, x.Modules[i].Name)
			}
		}
		return nil, fmt.Errorf("modules depend on each other in a circle: %s", strings.Join(cycle, ", "))
	}
	return rank, nil
}

// closure lists everything that module i needs, in the order of modules.dep: what is to be loaded first comes last.
func (x *Index) closure(i int, rank []int) []int {
	seen := map[int]bool{}
	var all []int
	var visit func(int)
	visit = func(m int) {
		for _, d := range x.Modules[m].Deps {
			if !seen[d] {
				seen[d] = true
				all = append(all, d)
				visit(d)
			}
		}
	}
	visit(i)
	slices.SortFunc(all, func(a, b int) int { return rank[a] - rank[b] })
	return all
}
