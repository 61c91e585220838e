package esp

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// node is a directory or a file.
type node struct {
	name     [11]byte // as stored: 8 and 3 characters, padded with spaces
	dir      bool
	parent   *node // nil for the root
	children []*node
	size     int64 // of a file
	index    int   // of a file, in what Plan was given
	cluster  int64 // first one, 0 for an empty file and for the root
}

func buildTree(files []File) (*node, error) {
	root := &node{dir: true}
	var errs []error
	for i, f := range files {
		if err := root.add(i, f); err != nil {
			errs = append(errs, fmt.Errorf("file %q: %w", f.Path, err))
		}
	}
	if n := len(root.children); n >= rootEntries {
		errs = append(errs, fmt.Errorf("%d entries in the root directory, FAT16 holds %d and the label", n, rootEntries-1))
	}
	root.sort()
	return root, errors.Join(errs...)
}

func (n *node) add(index int, f File) error {
	if f.Size < 0 || f.Size >= 1<<31 {
		return fmt.Errorf("size %d is not from 0 to 2 GiB", f.Size)
	}
	parts := strings.Split(f.Path, "/")
	for i, part := range parts {
		name, err := shortName(part)
		if err != nil {
			return err
		}
		last := i == len(parts)-1
		at := slices.IndexFunc(n.children, func(c *node) bool { return c.name == name })
		switch {
		case at < 0:
			c := &node{name: name, dir: !last, parent: n}
			if last {
				c.size, c.index = f.Size, index
			}
			n.children = append(n.children, c)
			n = c
		case last || !n.children[at].dir:
			return errors.New("the name is taken")
		default:
			n = n.children[at]
		}
	}
	return nil
}

// sort makes the layout independent of the order of the files given.
func (n *node) sort() {
	slices.SortFunc(n.children, func(a, b *node) int { return slices.Compare(a.name[:], b.name[:]) })
	for _, c := range n.children {
		c.sort()
	}
}

// clusters counts what the node and all below it need. The root has its own area.
func (n *node) clusters(clusterSize int64) int64 {
	sum := n.ownClusters(clusterSize)
	for _, c := range n.children {
		sum += c.clusters(clusterSize)
	}
	return sum
}

func (n *node) ownClusters(clusterSize int64) int64 {
	switch {
	case !n.dir:
		return ceil(n.size, clusterSize)
	case n.parent == nil:
		return 0
	}
	return ceil(int64(2+len(n.children))*entrySize, clusterSize) // with . and ..
}

// shortNameChars are the characters of 8.3 names besides letters and digits,
// without the space, which readers treat differently.
const shortNameChars = "!#$%&'()-@^_`{}~"

// shortName encodes an 8.3 name. Long names are refused, not shortened: an
// invented name would be one that no loader looks for.
func shortName(s string) ([11]byte, error) {
	name := [11]byte{' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' '}
	base, ext, _ := strings.Cut(strings.ToUpper(s), ".")
	if len(base) == 0 || len(base) > 8 || len(ext) > 3 || strings.HasSuffix(s, ".") {
		return name, fmt.Errorf("%q is not an 8.3 name", s)
	}
	for i := range len(base) + len(ext) {
		c := (base + ext)[i]
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte(shortNameChars, c) < 0 {
			return name, fmt.Errorf("%q has a character that FAT names cannot have", s)
		}
	}
	copy(name[:8], base)
	copy(name[8:], ext)
	return name, nil
}

func volumeLabel(s string) ([11]byte, error) {
	var label [11]byte
	if s == "" {
		s = "NO NAME" // what the specification wants for none
	}
	if len(s) > len(label) {
		return label, fmt.Errorf("label %q is longer than 11 characters", s)
	}
	copy(label[:], fmt.Sprintf("%-11s", strings.ToUpper(s)))
	return label, nil
}

// allocation hands out clusters front to back; every chain is contiguous.
type allocation struct {
	geometry
	fat []uint16
}

func (a *allocation) used() int64 { return int64(len(a.fat)) - firstCluster }

// chain takes n clusters and returns the first.
func (a *allocation) chain(n int64) int64 {
	if n == 0 {
		return 0
	}
	first := int64(len(a.fat))
	for i := first + 1; i < first+n; i++ {
		a.fat = append(a.fat, uint16(i))
	}
	a.fat = append(a.fat, endOfChain)
	return first
}

// directories places all directories, so that the metadata is in one piece.
func (a *allocation) directories(n *node) {
	if !n.dir {
		return
	}
	n.cluster = a.chain(n.ownClusters(a.clusterSize))
	for _, c := range n.children {
		a.directories(c)
	}
}

// files places all files behind them and notes where.
func (a *allocation) files(n *node, offsets []int64) {
	for _, c := range n.children {
		if c.dir {
			a.files(c, offsets)
			continue
		}
		offsets[c.index] = a.dataStart*sector + a.used()*a.clusterSize
		c.cluster = a.chain(c.ownClusters(a.clusterSize))
	}
}
