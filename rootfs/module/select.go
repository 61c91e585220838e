package module

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Class is a set of modules that an initramfs takes for one reason.
//
// A pattern without a slash is matched against module names (virtio_*), one with slashes against paths below kernel/
// without the suffix (drivers/net/mdio/*); a final /** takes a whole directory.
type Class struct {
	Name   string
	Reason string   // what would not work without them
	Take   []string // patterns; one that matches nothing is no error, because kernels differ
	Leave  []string // patterns of what Take would take and nobody needs so early
	Need   []string // names that must be there, as modules or in the kernel itself
}

// Selection is the answer of Index.Select.
type Selection struct {
	Load    []int    // indexes in Index.Modules: what was asked for and all that it depends on, dependencies first
	Builtin []string // names that were needed and are in the kernel itself
}

// Select computes the closure of the classes over dependencies and soft dependencies. It names every needed module that
// the kernel lacks.
func (x *Index) Select(classes []Class) (Selection, error) {
	rank, err := x.ranks()
	if err != nil {
		return Selection{}, err
	}
	var sel Selection
	var errs []error
	var roots []int
	for _, c := range classes {
		for i, m := range x.Modules {
			if matches(c.Take, m) && !matches(c.Leave, m) {
				roots = append(roots, i)
			}
		}
		for _, name := range c.Need {
			if i, ok := x.Lookup(name); ok {
				roots = append(roots, i)
			} else if x.IsBuiltin(name) {
				sel.Builtin = append(sel.Builtin, Normal(name))
			} else {
				errs = append(errs, fmt.Errorf("the kernel has no module %s (for %s: %s)", name, c.Name, c.Reason))
			}
		}
	}
	if len(errs) > 0 {
		return Selection{}, errors.Join(errs...)
	}
	sel.Load = x.close(roots)
	slices.SortFunc(sel.Load, func(a, b int) int { return cmp.Compare(rank[b], rank[a]) })
	return sel, nil
}

// close adds to roots what they need to load and to work, directly or not. A soft dependency may name an alias
// (crypto-crc32c); then every module that has it is taken, for modprobe would load them all.
func (x *Index) close(roots []int) []int {
	named := map[string][]int{}
	for i, m := range x.Modules {
		named[m.Name] = append(named[m.Name], i)
		for _, a := range m.Aliases {
			if !strings.ContainsAny(a, "*?[") {
				named[Normal(a)] = append(named[Normal(a)], i)
			}
		}
	}
	seen := map[int]bool{}
	var all []int
	var visit func(int)
	visit = func(i int) {
		if seen[i] {
			return
		}
		seen[i] = true
		all = append(all, i)
		for _, d := range x.Modules[i].Deps {
			visit(d)
		}
		for _, line := range x.Modules[i].Softdeps {
			pre, post := softdepNames(line)
			for _, name := range append(pre, post...) {
				for _, d := range named[name] {
					visit(d)
				}
			}
		}
	}
	for _, i := range roots {
		visit(i)
	}
	return all
}

// Firmware lists the files that the selected modules may ask the kernel for, as paths below lib/firmware, sorted. A
// module names all that it knows; a machine needs a few of them, if any.
func (x *Index) Firmware(s Selection) []string {
	var all []string
	for _, i := range s.Load {
		all = append(all, x.Modules[i].Firmware...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func matches(patterns []string, m Module) bool {
	file := strings.TrimSuffix(strings.TrimPrefix(PlainPath(m.Path), "kernel/"), ".ko")
	return slices.ContainsFunc(patterns, func(p string) bool {
		if dir, ok := strings.CutSuffix(p, "/**"); ok {
			return strings.HasPrefix(file, dir+"/")
		}
		if !strings.Contains(p, "/") {
			ok, err := path.Match(Normal(p), m.Name)
			return ok && err == nil
		}
		ok, err := path.Match(p, file)
		return ok && err == nil
	})
}
