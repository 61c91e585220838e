package rootfs

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	maxFollow = 40   // symbolic links that a lookup follows, as in the kernel (MAXSYMLINKS)
	maxPath   = 4095 // PATH_MAX without the NUL
	maxDepth  = 2048 // of directories: as deep as a path of PATH_MAX can reach
)

// split takes a path inside a root apart. Paths are bytes: they need not be UTF-8. "." and doubled slashes vanish; what
// could point out of the root is refused. The root itself is no names at all.
func split(path string) ([]string, error) {
	if strings.HasPrefix(path, "/") {
		return nil, errors.New("absolute name")
	}
	if len(path) > maxPath {
		return nil, fmt.Errorf("path of %d bytes, at most %d", len(path), maxPath)
	}
	var names []string
	for name := range strings.SplitSeq(path, "/") {
		switch {
		case name == "" || name == ".":
		case name == "..":
			return nil, errors.New(`name with ".."`)
		case len(name) > maxName:
			return nil, fmt.Errorf("name of %d bytes, at most %d", len(name), maxName)
		case strings.ContainsRune(name, 0):
			return nil, errors.New("name with a NUL byte")
		default:
			names = append(names, name)
		}
	}
	return names, nil
}

// lookup goes from the root of the tree along path and follows symbolic links as a process whose root it is would:
// absolute targets begin at the tree's root, and ".." of the root is the root. The last name is followed only if follow
// is set. With create, missing directories on the way (not the last name) are made.
//
// It returns the directory that holds the last name, that name, and its node, which is nil if there is none. For the
// root itself the name is empty.
func (t *Tree) lookup(path string, follow, create bool) (dir *Node, name string, n *Node, err error) {
	todo := strings.Split(path, "/")
	stack := []*Node{t.root} // the directories from the root to where we are
	names := []string{""}    // and their names
	links := 0
	for len(todo) > 0 {
		name, todo = todo[0], todo[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			if len(stack) > 1 {
				stack, names = stack[:len(stack)-1], names[:len(names)-1]
			}
			continue
		}
		dir = stack[len(stack)-1]
		last := !hasName(todo)
		n = dir.entries[name]
		switch {
		case n == nil && last:
			return dir, name, nil, nil
		case n == nil && !create:
			return nil, "", nil, unix.ENOENT
		case n == nil:
			n = newDir()
			dir.entries[name] = n
		case n.IsSymlink() && (!last || follow):
			if links++; links > maxFollow {
				return nil, "", nil, unix.ELOOP
			}
			if strings.HasPrefix(n.Target, "/") {
				stack, names = stack[:1], names[:1]
			}
			todo = append(strings.Split(n.Target, "/"), todo...)
			continue
		}
		if last && !n.IsDir() {
			return dir, name, n, nil
		}
		if !n.IsDir() {
			return nil, "", nil, unix.ENOTDIR
		}
		if len(stack) > maxDepth {
			return nil, "", nil, unix.ENAMETOOLONG
		}
		stack, names = append(stack, n), append(names, name)
	}
	if len(stack) == 1 {
		return nil, "", t.root, nil
	}
	return stack[len(stack)-2], names[len(names)-1], stack[len(stack)-1], nil
}

// hasName reports whether anything but "" and "." is still to come, so that "dir/" ends at dir.
func hasName(todo []string) bool {
	for _, name := range todo {
		if name != "" && name != "." {
			return true
		}
	}
	return false
}
