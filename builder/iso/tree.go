package iso

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// extent is a run of sectors that belongs to a directory or a file.
type extent struct {
	lba  uint32
	size uint32 // bytes
}

// node is a directory or a file of the tree.
type node struct {
	name     string // as Rock Ridge has it
	iso      isoName
	dir      bool
	parent   *node // of the root: itself
	children []*node
	file     File     // of a file
	extents  []extent // one for a directory; of a file one per 4 GiB, none when empty
	number   int      // of a directory in the path table, from 1
}

// Limits of names and depth. A directory record has 255 bytes for identifier
// and Rock Ridge entries together; longer names would need continuation areas.
const (
	maxName  = 100
	maxDepth = 8 // ECMA-119 6.8.2.1, the root included
)

// buildTree makes the tree; every bad file is reported.
func buildTree(files []File) (*node, error) {
	root := &node{dir: true}
	root.parent = root
	var errs []error
	for _, f := range files {
		err := f.validate()
		if err == nil {
			err = root.add(f)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("file %q: %w", f.Path, err))
		}
	}
	root.identify()
	return root, errors.Join(errs...)
}

func (n *node) add(f File) error {
	parts := strings.Split(f.Path, "/")
	if len(parts) >= maxDepth {
		return fmt.Errorf("deeper than %d directories", maxDepth-1)
	}
	for i, part := range parts {
		if err := checkName(part); err != nil {
			return err
		}
		last := i == len(parts)-1
		at := slices.IndexFunc(n.children, func(c *node) bool { return c.name == part })
		switch {
		case at < 0:
			c := &node{name: part, dir: !last, parent: n}
			if last {
				c.file = f
			}
			n.children = append(n.children, c)
			n = c
		case last || !n.children[at].dir:
			return fmt.Errorf("the name %q is taken", part)
		default:
			n = n.children[at]
		}
	}
	return nil
}

func checkName(s string) error {
	switch {
	case s == "" || s == "." || s == "..":
		return fmt.Errorf("path has a part %q", s)
	case len(s) > maxName:
		return fmt.Errorf("name %q is longer than %d bytes", s, maxName)
	case !utf8.ValidString(s) || strings.ContainsRune(s, 0):
		return fmt.Errorf("name %q is not UTF-8", s)
	}
	return nil
}

// identify gives every entry of the tree an ISO 9660 identifier that is its own
// within its directory, and sorts by it. The names are sorted first, so that
// the result does not depend on the order of the files given.
func (n *node) identify() {
	slices.SortFunc(n.children, func(a, b *node) int { return strings.Compare(a.name, b.name) })
	taken := make(map[isoName]bool)
	for _, c := range n.children {
		c.iso = mangle(c.name, c.dir)
		for i := 1; taken[c.iso]; i++ {
			c.iso = mangle(c.name, c.dir).number(i)
		}
		taken[c.iso] = true
		c.identify()
	}
	slices.SortFunc(n.children, func(a, b *node) int { return a.iso.compare(b.iso) })
}

// directories lists all directories in path table order: by depth, then by
// parent, then by identifier (ECMA-119 6.9.1), and numbers them.
func (n *node) directories() []*node {
	dirs := []*node{n}
	for i := 0; i < len(dirs); i++ {
		dirs[i].number = i + 1
		for _, c := range dirs[i].children {
			if c.dir {
				dirs = append(dirs, c)
			}
		}
	}
	return dirs
}

// walk calls f for every file in path order.
func (n *node) walk(f func(*node)) {
	for _, c := range n.children {
		if c.dir {
			c.walk(f)
		} else {
			f(c)
		}
	}
}
