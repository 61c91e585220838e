package module

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// File is one of the files that depmod writes into lib/modules/RELEASE.
type File struct {
	Name string
	Data []byte
}

// Files gives everything that depmod -a would write, sorted by name.
func (x *Index) Files() ([]File, error) {
	rank, err := x.ranks()
	if err != nil {
		return nil, err
	}
	dep, depBin := x.dep(rank)
	alias, aliasBin := x.alias()
	symbols, symbolsBin := x.symbols()
	files := []File{
		{"modules.alias", alias},
		{"modules.alias.bin", aliasBin},
		{"modules.builtin.alias.bin", x.builtinAlias()},
		{"modules.builtin.bin", x.builtin()},
		{"modules.dep", dep},
		{"modules.dep.bin", depBin},
		{"modules.devname", x.devname()},
		{"modules.softdep", x.soft("# Soft dependencies extracted from modules themselves.", "softdep", func(m Module) []string { return m.Softdeps })},
		{"modules.symbols", symbols},
		{"modules.symbols.bin", symbolsBin},
		{"modules.weakdep", x.soft("# Weak dependencies extracted from modules themselves.", "weakdep", func(m Module) []string { return m.Weakdeps })},
	}
	return files, nil
}

func (x *Index) dep(rank []int) (text, bin []byte) {
	var out bytes.Buffer
	entries := make([]entry, 0, len(x.Modules))
	for i, m := range x.Modules {
		line := m.Path + ":"
		for _, d := range x.closure(i, rank) {
			line += " " + x.Modules[d].Path
		}
		fmt.Fprintln(&out, line)
		entries = append(entries, entry{m.Name, line, i})
	}
	return out.Bytes(), writeIndex(entries)
}

func (x *Index) alias() (text, bin []byte) {
	var out bytes.Buffer
	var entries []entry
	fmt.Fprintln(&out, "# Aliases extracted from modules themselves.")
	for i, m := range x.Modules {
		for _, a := range m.Aliases {
			fmt.Fprintf(&out, "alias %s %s\n", a, m.Name)
			if key, ok := normalAlias(a); ok {
				entries = append(entries, entry{key, m.Name, i})
			}
		}
	}
	return out.Bytes(), writeIndex(entries)
}

func (x *Index) soft(title, word string, of func(Module) []string) []byte {
	var out bytes.Buffer
	fmt.Fprintln(&out, title)
	for _, m := range x.Modules {
		for _, value := range of(m) {
			fmt.Fprintf(&out, "%s %s %s\n", word, m.Name, value)
		}
	}
	return out.Bytes()
}

func (x *Index) symbols() (text, bin []byte) {
	owner := map[string]int{}
	for i, m := range x.Modules {
		for _, s := range m.Exports {
			owner[s] = i
		}
	}
	var out bytes.Buffer
	entries := make([]entry, 0, len(owner))
	fmt.Fprintln(&out, "# Aliases for symbols, used by symbol_request().")
	for _, s := range slices.Sorted(maps.Keys(owner)) {
		i := owner[s]
		fmt.Fprintf(&out, "alias symbol:%s %s\n", s, x.Modules[i].Name)
		entries = append(entries, entry{"symbol:" + s, x.Modules[i].Name, i})
	}
	return out.Bytes(), writeIndex(entries)
}

func (x *Index) builtin() []byte {
	entries := make([]entry, 0, len(x.Builtin))
	for _, p := range x.Builtin {
		entries = append(entries, entry{key: NameOf(p)})
	}
	return writeIndex(entries)
}

func (x *Index) builtinAlias() []byte {
	var entries []entry
	for _, s := range x.BuiltinInfo { // name.alias=value
		name, rest, _ := strings.Cut(s, ".")
		value, ok := strings.CutPrefix(rest, "alias=")
		if key, normal := normalAlias(value); ok && normal {
			entries = append(entries, entry{key: key, value: name})
		}
	}
	return writeIndex(entries)
}

// devname lists the device nodes whose opening loads a module: an alias devname:NAME with one that gives the numbers.
func (x *Index) devname() []byte {
	var out bytes.Buffer
	for _, m := range x.Modules {
		var name string
		var kind byte
		var major, minor uint
		for _, a := range m.Aliases {
			var maj, min uint
			if n, ok := strings.CutPrefix(a, "devname:"); ok {
				name = n
			} else if k, _ := fmt.Sscanf(a, "char-major-%d-%d", &maj, &min); k == 2 {
				kind, major, minor = 'c', maj, min
			} else if k, _ := fmt.Sscanf(a, "block-major-%d-%d", &maj, &min); k == 2 {
				kind, major, minor = 'b', maj, min
			}
			if kind != 0 && name != "" {
				break
			}
		}
		if kind == 0 || name == "" {
			continue
		}
		if out.Len() == 0 {
			fmt.Fprintln(&out, "# Device nodes to trigger on-demand module loading.")
		}
		fmt.Fprintf(&out, "%s %s %c%d:%d\n", m.Name, name, kind, major, minor)
	}
	return out.Bytes()
}

// normalAlias puts underscores for dashes outside brackets, as libkmod's alias_normalize does before a look-up. It
// fails on an unmatched bracket.
func normalAlias(s string) (string, bool) {
	b := []byte(s)
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '-':
			b[i] = '_'
		case ']':
			return "", false
		case '[':
			end := bytes.IndexByte(b[i:], ']')
			if end < 0 {
				return "", false
			}
			i += end
		}
	}
	return string(b), true
}

// IsBuiltin tells whether a module of that name is part of the kernel itself.
func (x *Index) IsBuiltin(name string) bool {
	return slices.ContainsFunc(x.Builtin, func(p string) bool { return NameOf(p) == Normal(name) })
}

// Lookup finds a module by its name, in either spelling.
func (x *Index) Lookup(name string) (int, bool) {
	name = Normal(name)
	i := slices.IndexFunc(x.Modules, func(m Module) bool { return m.Name == name })
	return i, i >= 0
}

// Plain is the index of the same modules once each is stored decompressed.
func (x *Index) Plain() *Index {
	y := *x
	y.Modules = slices.Clone(x.Modules)
	for i := range y.Modules {
		y.Modules[i].Path = PlainPath(y.Modules[i].Path)
	}
	return &y
}

// Subset is the index of the modules keep, which must hold all that they depend on. Their order stays.
func (x *Index) Subset(keep []int) *Index {
	keep = slices.Clone(keep)
	slices.SortFunc(keep, cmp.Compare[int])
	keep = slices.Compact(keep)
	to := make(map[int]int, len(keep))
	for n, i := range keep {
		to[i] = n
	}
	y := &Index{Builtin: x.Builtin, BuiltinInfo: x.BuiltinInfo, Modules: make([]Module, len(keep))}
	for n, i := range keep {
		m := x.Modules[i]
		deps := make([]int, 0, len(m.Deps))
		for _, d := range m.Deps {
			if k, ok := to[d]; ok {
				deps = append(deps, k)
			}
		}
		m.Deps = deps
		y.Modules[n] = m
	}
	return y
}
