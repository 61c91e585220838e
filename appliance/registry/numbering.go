package registry

import (
	"regexp"
	"strconv"
	"strings"

	"masthead/appliance/state"
)

// numbering finds the lowest number of a name pattern that can be given away, without looking at all those below it
// again each time.
type numbering struct {
	pattern string
	may     uint64 // of each slot, whether its names could be given away when the search began
	next    int    // no number below it can
}

// free takes notice that a name may have become free.
func (n *numbering) free(name string) {
	if k := numberOf(n.pattern, name); k > 0 && k < n.next {
		n.next = k
	}
}

// maxNumber ends a search that finds nothing: more nodes than any cluster has.
const maxNumber = 1_000_000

// find gives the name of the lowest number for which taken is false; empty if there is none. may tells the slots whose
// names can be given away.
func (n *numbering) find(pattern string, may uint64, taken func(name string) bool) string {
	if n.pattern != pattern || n.may != may || n.next < 1 {
		*n = numbering{pattern, may, 1}
	}
	for ; may != 0 && n.next < maxNumber; n.next++ {
		if name := nodeName(pattern, n.next); may&slotBit(name) != 0 && !taken(name) {
			return name
		}
	}
	return ""
}

// slotBit is the slot of a name in a set of slots.
func slotBit(name string) uint64 { return 1 << state.SlotOf(name) }

// numberOf is the inverse of nodeName, or 0.
func numberOf(pattern, name string) int {
	verb := patternNumber.FindStringIndex(pattern)
	if verb == nil {
		return 0
	}
	digits, ok := strings.CutPrefix(name, pattern[:verb[0]])
	if !ok {
		return 0
	}
	if digits, ok = strings.CutSuffix(digits, pattern[verb[1]:]); !ok || !isNumber.MatchString(digits) {
		return 0
	}
	n, err := strconv.Atoi(digits)
	if err != nil || nodeName(pattern, n) != name {
		return 0
	}
	return n
}

var isNumber = regexp.MustCompile(`^[0-9]{1,9}$`)
