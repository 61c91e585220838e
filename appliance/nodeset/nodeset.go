// Package nodeset reads and writes sets of node names as cluster administrators know them from ClusterShell and xCAT:
//
//	n01,n07          names
//	n[01-20,33]      ranges, padded as written; n[0-10/2] in steps
//	@rack1           a group; @all is every node
//	image=worker     an attribute
//	~^n0[1-3]$       a regular expression, up to the next comma outside brackets
//	-n07             not this one: any of the above with a dash in front
//
// Terms are joined by commas: what is named, less what is excluded, in whatever order they stand. A set of exclusions
// alone is all nodes but those. The package knows nothing of where nodes come from.
package nodeset

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// maxNames bounds what one set expands to: several times the largest cluster, and short of a mistaken n[0-999999999].
const maxNames = 100_000

// maxLength bounds the text of a set.
const maxLength = 1 << 20

// All is the group of every node.
const All = "all"

// Node is what a set selects by.
type Node struct {
	Name   string
	Groups []string
	Attr   func(key string) (value string, ok bool) // nil: no attributes
}

// Set is a parsed set.
type Set struct {
	include, exclude []term
}

// term is one part of a set; one of the fields but names is set.
type term struct {
	names    []string // in the order written
	group    string
	key, val string
	pattern  *regexp.Regexp
}

// Parse reads a set. The empty text is an error, since doing something to no node, or to all, is never what was meant.
func Parse(text string) (Set, error) {
	if len(text) > maxLength {
		return Set{}, fmt.Errorf("node set of %d bytes, at most %d", len(text), maxLength)
	}
	var s Set
	parts, err := split(text)
	if err != nil {
		return Set{}, fmt.Errorf("node set %q: %w", text, err)
	}
	total := 0
	for _, part := range parts {
		t, not, err := parseTerm(part)
		if err != nil {
			return Set{}, fmt.Errorf("node set %q: %w", text, err)
		}
		if total += len(t.names); total > maxNames {
			return Set{}, fmt.Errorf("node set %q: more than %d names", text, maxNames)
		}
		if not {
			s.exclude = append(s.exclude, t)
		} else {
			s.include = append(s.include, t)
		}
	}
	return s, nil
}

// Names expands a set that consists of names alone, for nodes that do not exist yet. Each name comes once, in the order
// written.
func Names(text string) ([]string, error) {
	s, err := Parse(text)
	if err != nil {
		return nil, err
	}
	drop, seen := map[string]bool{}, map[string]bool{}
	for _, t := range append(s.include, s.exclude...) {
		if t.names == nil {
			return nil, fmt.Errorf("node set %q: only names here, no groups, attributes or patterns", text)
		}
	}
	for _, t := range s.exclude {
		for _, name := range t.names {
			drop[name] = true
		}
	}
	var names []string
	for _, t := range s.include {
		for _, name := range t.names {
			if !drop[name] && !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// Select gives the names of those nodes that are in the set, in the order of nodes; and which names the set asks for
// that no node has.
func (s Set) Select(nodes []Node) (names, missing []string) {
	include, exclude := compile(s.include), compile(s.exclude)
	known := make(map[string]bool, len(nodes))
	for _, n := range nodes {
		known[n.Name] = true
		if (len(s.include) == 0 || include.match(n)) && !exclude.match(n) {
			names = append(names, n.Name)
		}
	}
	for _, t := range s.include {
		for _, name := range t.names {
			if !known[name] {
				known[name] = true // say it once
				missing = append(missing, name)
			}
		}
	}
	return names, missing
}

// Asks reports whether a set asks for a node in particular: by its name, or by that value of that attribute. A group, all
// nodes and a pattern do not.
func (s Set) Asks(name, key, value string) bool {
	for _, t := range s.include {
		if slices.Contains(t.names, name) || t.key == key && t.val == value || t.key == "name" && t.val == name {
			return true
		}
	}
	return false
}

// matcher is terms with all their names in one map: a set may name thousands.
type matcher struct {
	names map[string]bool
	terms []term
}

func compile(terms []term) matcher {
	m := matcher{names: map[string]bool{}}
	for _, t := range terms {
		for _, name := range t.names {
			m.names[name] = true
		}
		if t.names == nil {
			m.terms = append(m.terms, t)
		}
	}
	return m
}

func (m matcher) match(n Node) bool {
	if m.names[n.Name] {
		return true
	}
	for _, t := range m.terms {
		if t.match(n) {
			return true
		}
	}
	return false
}

func (t term) match(n Node) bool {
	switch {
	case t.pattern != nil:
		return t.pattern.MatchString(n.Name)
	case t.group == All:
		return true
	case t.group != "":
		for _, g := range n.Groups {
			if g == t.group {
				return true
			}
		}
		return false
	case n.Attr == nil:
		return false
	}
	value, ok := n.Attr(t.key)
	return ok && value == t.val
}

// split cuts at commas and white space outside brackets.
func split(text string) ([]string, error) {
	var parts []string
	depth, start := 0, 0
	add := func(part string) {
		if part != "" {
			parts = append(parts, part)
		}
	}
	for i, c := range text {
		switch {
		case c == '[':
			depth++
		case c == ']':
			if depth--; depth < 0 {
				return nil, errors.New("] without [")
			}
		case depth == 0 && (c == ',' || c == ' ' || c == '\t' || c == '\n'):
			add(text[start:i])
			start = i + 1
		}
	}
	if depth > 0 {
		return nil, errors.New("[ without ]")
	}
	add(text[start:])
	if len(parts) == 0 {
		return nil, fmt.Errorf("it is empty; all nodes are @%s", All)
	}
	return parts, nil
}

var (
	word = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]*$`)
	name = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$`)
)

func parseTerm(part string) (t term, not bool, err error) {
	rest, not := strings.CutPrefix(part, "-")
	if expr, ok := strings.CutPrefix(rest, "~"); ok {
		if t.pattern, err = regexp.Compile(expr); err != nil {
			return term{}, false, fmt.Errorf("pattern ~%s: %w", expr, err)
		}
		return t, not, nil
	}
	if group, ok := strings.CutPrefix(rest, "@"); ok {
		if !word.MatchString(group) {
			return term{}, false, fmt.Errorf("%q is not a group", part)
		}
		return term{group: group}, not, nil
	}
	if key, val, ok := strings.Cut(rest, "="); ok {
		if !word.MatchString(key) {
			return term{}, false, fmt.Errorf("%q: %q is not an attribute", part, key)
		}
		return term{key: key, val: val}, not, nil
	}
	t.names, err = expand(rest)
	return t, not, err
}
