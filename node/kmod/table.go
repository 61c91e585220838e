package kmod

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// Table is what depmod found out about the modules of one kernel.
type Table struct {
	files   map[string]module // by name
	aliases aliases
	soft    map[string]softdep
	builtin map[string]bool
}

// module is one line of modules.dep.
type module struct {
	file string   // relative to lib/modules/RELEASE
	deps []string // names, in the order in which they are to be loaded
}

// softdep are modules to load with another, where they exist.
type softdep struct{ pre, post []string }

// ReadTable reads modules.dep, and modules.alias, modules.softdep and modules.builtin where they are there. fsys is
// lib/modules/RELEASE.
func ReadTable(fsys fs.FS) (*Table, error) {
	t := &Table{files: map[string]module{}, soft: map[string]softdep{}, builtin: map[string]bool{}}
	for _, f := range []struct {
		name string
		line func(string) error
		must bool
	}{
		{"modules.dep", t.depLine, true},
		{"modules.alias", t.aliasLine, false},
		{"modules.softdep", t.softdepLine, false},
		{"modules.builtin", t.builtinLine, false},
	} {
		r, err := fsys.Open(f.name)
		if errors.Is(err, fs.ErrNotExist) && !f.must {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("module tables: %w", err)
		}
		err = eachLine(r, f.line)
		r.Close()
		if err != nil {
			return nil, fmt.Errorf("module tables: %s: %w", f.name, err)
		}
	}
	return t, nil
}

// maxLine is beyond any line of modules.dep; the longest of Debian's has 3 KB.
const maxLine = 1 << 20

func eachLine(r io.Reader, do func(string) error) error {
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, maxLine)
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if err := do(line); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return sc.Err()
}

// depLine reads "kernel/a.ko: kernel/b.ko kernel/c.ko": a needs b and c, and of those the last must be loaded first.
func (t *Table) depLine(line string) error {
	file, rest, ok := strings.Cut(line, ":")
	if !ok || nameOf(file) == "" {
		return fmt.Errorf("%q: want FILE: FILE…", line)
	}
	m := module{file: file}
	deps := strings.Fields(rest)
	for i := len(deps) - 1; i >= 0; i-- {
		m.deps = append(m.deps, nameOf(deps[i]))
	}
	t.files[nameOf(file)] = m
	return nil
}

func (t *Table) aliasLine(line string) error {
	f := strings.Fields(line)
	if len(f) < 3 || f[0] != "alias" {
		return fmt.Errorf("%q: want alias PATTERN MODULE", line)
	}
	// The pattern of a DMI alias may hold blanks.
	t.aliases.add(strings.Join(f[1:len(f)-1], " "), underscored(f[len(f)-1]))
	return nil
}

func (t *Table) softdepLine(line string) error {
	f := strings.Fields(line)
	if len(f) < 2 || f[0] != "softdep" {
		return fmt.Errorf("%q: want softdep MODULE pre: … post: …", line)
	}
	name := underscored(f[1])
	s := t.soft[name]
	dst := &s.pre
	for _, w := range f[2:] {
		switch w {
		case "pre:":
			dst = &s.pre
		case "post:":
			dst = &s.post
		default:
			*dst = append(*dst, w)
		}
	}
	t.soft[name] = s
	return nil
}

func (t *Table) builtinLine(line string) error {
	t.builtin[nameOf(line)] = true
	return nil
}

// nameOf is the module name of a file: its base up to the first dot, with underscores.
func nameOf(file string) string {
	name, _, _ := strings.Cut(path.Base(strings.TrimSpace(file)), ".")
	return underscored(name)
}

func underscored(s string) string { return strings.ReplaceAll(s, "-", "_") }

// Match lists the modules for a device's modalias.
func (t *Table) Match(modalias string) []string { return t.aliases.find(modalias) }

// Has reports whether a module of that name can be loaded or is part of the kernel.
func (t *Table) Has(name string) bool {
	_, ok := t.files[underscored(name)]
	return ok || t.builtin[underscored(name)]
}

// resolve turns what a person or the kernel asks for, a module or an alias of modules, into module names.
func (t *Table) resolve(name string) []string {
	if t.Has(name) {
		return []string{underscored(name)}
	}
	return t.aliases.find(name)
}

// step is one module to load.
type step struct {
	name, file string
	soft       bool // others do without it
}

// plan lists what to load for a module, in order: soft dependencies and dependencies first. What is built in needs
// nothing.
func (t *Table) plan(name string) []step {
	var steps []step
	seen := map[string]bool{}
	var visit func(name string, soft bool)
	visit = func(name string, soft bool) {
		m, ok := t.files[name]
		if !ok || seen[name] {
			return
		}
		seen[name] = true // before its dependencies: soft ones may go in a circle
		s := t.soft[name]
		for _, pre := range s.pre {
			for _, n := range t.resolve(pre) {
				visit(n, true)
			}
		}
		for _, d := range m.deps {
			visit(d, soft)
		}
		steps = append(steps, step{name, m.file, soft})
		for _, post := range s.post {
			for _, n := range t.resolve(post) {
				visit(n, true)
			}
		}
	}
	visit(underscored(name), false)
	return steps
}
