package kmod

import (
	"slices"
	"strings"
)

// aliases finds the modules for a device. Debian's generic kernel has 25,000 patterns and a server has hundreds of
// devices, so patterns are kept by what stands before their first wildcard: a device is looked up once per length
// that such a prefix has, of which there are a few dozen.
type aliases struct {
	byPrefix map[string][]alias
	lengths  []int // of the prefixes, ascending
}

type alias struct{ pattern, module string }

func (a *aliases) add(pattern, module string) {
	pattern = normal(pattern)
	prefix := pattern
	if i := strings.IndexAny(pattern, `*?[\`); i >= 0 {
		prefix = pattern[:i]
	}
	if a.byPrefix == nil {
		a.byPrefix = map[string][]alias{}
	}
	a.byPrefix[prefix] = append(a.byPrefix[prefix], alias{pattern, module})
	if i, ok := slices.BinarySearch(a.lengths, len(prefix)); !ok {
		a.lengths = slices.Insert(a.lengths, i, len(prefix))
	}
}

// find lists the modules whose patterns match a name, each once.
func (a *aliases) find(name string) []string {
	name = strings.ReplaceAll(name, "-", "_")
	var found []string
	for _, n := range a.lengths {
		if n > len(name) {
			break
		}
		for _, c := range a.byPrefix[name[:n]] {
			if !slices.Contains(found, c.module) && match(c.pattern, name) {
				found = append(found, c.module)
			}
		}
	}
	return found
}
