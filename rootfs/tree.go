package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// Tree is a file system in memory, without the contents of its files: those are opened where they are when they are
// read. Paths count from the root, without a slash in front ("usr/bin/env"; "" and "." are the root), and are bytes that
// need not be UTF-8.
//
// Symbolic links among a path's directories are followed inside the tree, as container runtimes do when they apply a
// layer: with lib a link to usr/lib, adding lib/x makes usr/lib/x. A Tree is not safe for concurrent use while it is
// changed.
type Tree struct {
	root    *Node
	closers []func() error
}

// New makes a tree of one directory, owned by root, with mode 0755.
func New() *Tree { return &Tree{root: newDir()} }

func newDir() *Node {
	return &Node{Mode: unix.S_IFDIR | 0o755, entries: map[string]*Node{}}
}

// OnClose has close called when the tree is closed, for files that contents are read from.
func (t *Tree) OnClose(close func() error) { t.closers = append(t.closers, close) }

// Close lets go of what the contents are read from. Nothing may be opened after it.
func (t *Tree) Close() error {
	var errs []error
	for _, c := range slices.Backward(t.closers) {
		errs = append(errs, c())
	}
	t.closers = nil
	return errors.Join(errs...)
}

// Add puts a file at path, in place of what is there; missing directories above it are made. A directory over a
// directory keeps the entries of the old one and gets the metadata of the new. The tree keeps a copy of n.
func (t *Tree) Add(path string, n Node) error {
	return t.put(path, &n)
}

func (t *Tree) put(path string, n *Node) error {
	if _, err := split(path); err != nil {
		return fmt.Errorf("add %q: %w", path, err)
	}
	if err := n.check(); err != nil {
		return fmt.Errorf("add %q: %w", path, err)
	}
	dir, name, old, err := t.lookup(path, false, true)
	if err != nil {
		return fmt.Errorf("add %q: %w", path, err)
	}
	if n.IsDir() {
		n.entries = map[string]*Node{}
		if old != nil && old.IsDir() {
			n.entries = old.entries
			*old = *n // in place: others may stand on the directory, and the root has no entry
			return nil
		}
	}
	if dir == nil {
		return fmt.Errorf("add %q: the root must be a directory", path)
	}
	dir.entries[name] = n
	return nil
}

// Link makes path another name of the file at target, which must be there and not be a directory. Symbolic links are
// followed among the directories of both, and not at their ends.
func (t *Tree) Link(target, path string) error {
	if _, err := split(target); err != nil {
		return fmt.Errorf("hard link %q to %q: target: %w", path, target, err)
	}
	if _, err := split(path); err != nil {
		return fmt.Errorf("hard link %q to %q: %w", path, target, err)
	}
	_, _, n, err := t.lookup(target, false, false)
	switch {
	case err != nil:
		return fmt.Errorf("hard link %q to %q: target: %w", path, target, err)
	case n == nil:
		return fmt.Errorf("hard link %q to %q: target: %w", path, target, unix.ENOENT)
	case n.IsDir():
		return fmt.Errorf("hard link %q to %q: target: %w", path, target, unix.EISDIR)
	}
	dir, name, _, err := t.lookup(path, false, true)
	if err != nil {
		return fmt.Errorf("hard link %q to %q: %w", path, target, err)
	}
	if dir == nil {
		return fmt.Errorf("hard link %q to %q: the root must be a directory", path, target)
	}
	dir.entries[name] = n
	return nil
}

// Remove takes away what is at path, with all that is below it. It is no error if nothing is there.
func (t *Tree) Remove(path string) error {
	if _, err := split(path); err != nil {
		return fmt.Errorf("remove %q: %w", path, err)
	}
	dir, name, n, err := t.lookup(path, false, false)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), err == nil && n == nil:
		return nil
	case err != nil:
		return fmt.Errorf("remove %q: %w", path, err)
	case dir == nil:
		return fmt.Errorf("remove %q: the root cannot be removed", path)
	}
	delete(dir.entries, name)
	return nil
}

// Clear empties the directory at path, and keeps it. It is no error if there is none.
func (t *Tree) Clear(path string) error {
	if _, err := split(path); err != nil {
		return fmt.Errorf("clear %q: %w", path, err)
	}
	_, _, n, err := t.lookup(path, true, false)
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
		return fmt.Errorf("clear %q: %w", path, err)
	}
	if err == nil && n != nil && n.IsDir() {
		clear(n.entries)
	}
	return nil
}

// Lookup gives the file at path without following a symbolic link at its end. The error is a *fs.PathError. The node is
// the tree's own.
func (t *Tree) Lookup(path string) (*Node, error) { return t.get("lookup", path, false) }

// Resolve gives the file at path and follows symbolic links to the end.
func (t *Tree) Resolve(path string) (*Node, error) { return t.get("resolve", path, true) }

func (t *Tree) get(op, path string, follow bool) (*Node, error) {
	_, _, n, err := t.lookup(path, follow, false)
	if err == nil && n == nil {
		err = unix.ENOENT
	}
	if err != nil {
		return nil, &fs.PathError{Op: op, Path: path, Err: err}
	}
	return n, nil
}

// Merge lays upper over t, as cp -a would: directories become one, with the metadata of upper, anything else replaces
// what is there. Where t has a symbolic link to a directory and upper has a directory, the link stays and its directory
// is the one filled (a package with lib/modules lands in usr/lib/modules of a merged-usr root). Overlayfs whiteouts in
// upper are copied like any device. upper must not be used or closed afterwards: t closes what it held.
func (t *Tree) Merge(upper *Tree) error {
	t.closers = append(t.closers, upper.closers...)
	upper.closers = nil
	for p, n := range upper.All() {
		if n.IsDir() {
			if old, err := t.Lookup(p); err == nil && old.IsSymlink() {
				if to, err := t.Resolve(p); err == nil && to.IsDir() {
					continue
				}
			}
			dir := *n // the entries of n follow one by one
			if err := t.put(p, &dir); err != nil {
				return fmt.Errorf("merge: %w", err)
			}
			continue
		}
		if err := t.put(p, n); err != nil {
			return fmt.Errorf("merge: %w", err)
		}
	}
	return nil
}

// All gives every name in the tree with its node, directories before what is in them, the entries of each in the order
// of their bytes. The root comes first, as ".". A hard-linked node comes once for each of its names.
func (t *Tree) All() iter.Seq2[string, *Node] {
	return func(yield func(string, *Node) bool) { walk(".", t.root, yield) }
}

func walk(p string, n *Node, yield func(string, *Node) bool) bool {
	if !yield(p, n) {
		return false
	}
	for _, name := range slices.Sorted(maps.Keys(n.entries)) {
		if !walk(path.Join(p, name), n.entries[name], yield) {
			return false
		}
	}
	return true
}
