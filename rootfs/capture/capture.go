package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"masthead/rootfs"
	"masthead/rootfs/directory"
)

// Config says what is read.
type Config struct {
	// Root is the root of a file system; default /. What is mounted below it is not read.
	Root string
	// Exclude are patterns of paths that stay out besides those of Rules, and Keep are paths that come along whatever Rules
	// say; both may have a slash in front.
	Exclude, Keep []string
	// Further are rules besides those of Rules.
	Further []Rule
	// Edits change the text of further files, by their paths without the slash.
	Edits map[string]func(string) string
	// Before is an earlier capture whose files changed while they were read: those that differ from what it saw are read
	// into memory now, whole, until that succeeds.
	Before *Root
}

// Left is something that stays out, or comes along changed.
type Left struct {
	Path    string `json:"path"`
	Why     string `json:"why"`
	Changed bool   `json:"changed,omitempty"` // it comes along, without what Why says
}

// Root is a captured root. Its contents are read from the machine when they are needed; Close ends that.
type Root struct {
	Tree *rootfs.Tree
	Left []Left // by path

	seen  map[string]directory.Mark
	mount int    // of the root's file system alone
	path  string // of that
}

// Close lets go of the root.
func (r *Root) Close() error { return errors.Join(r.Tree.Close(), unix.Close(r.mount)) }

// Read reads what the root holds, without the contents. It needs the right to mount (root).
func Read(ctx context.Context, c Config) (*Root, error) {
	if c.Root == "" {
		c.Root = "/"
	}
	// A mount of this file system alone, which nothing is mounted in (open_tree(2), without AT_RECURSIVE).
	fd, err := unix.OpenTree(unix.AT_FDCWD, c.Root, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if errors.Is(err, unix.EPERM) {
		return nil, &notRoot{fmt.Errorf("capture %s: %w", c.Root, err)}
	}
	if err != nil {
		return nil, fmt.Errorf("capture %s: %w", c.Root, err)
	}
	r := &Root{mount: fd, path: fmt.Sprintf("/proc/self/fd/%d", fd), Left: []Left{}, seen: map[string]directory.Mark{}}
	if err := r.read(ctx, c); err != nil {
		if r.Tree != nil {
			err = errors.Join(err, r.Tree.Close())
		}
		return nil, fmt.Errorf("capture %s: %w", c.Root, errors.Join(err, unix.Close(fd)))
	}
	return r, nil
}

type notRoot struct{ error }

func (e *notRoot) Try() string   { return "run it as root" }
func (e *notRoot) Unwrap() error { return e.error }

func (r *Root) read(ctx context.Context, c Config) error {
	all := append(slices.Clone(rules), c.Further...)
	c.Keep = slices.Clone(c.Keep)
	for i, k := range c.Keep {
		c.Keep[i] = strings.Trim(k, "/")
	}
	for _, p := range c.Exclude {
		p = strings.Trim(p, "/")
		if _, err := filepath.Match(p, ""); err != nil || p == "" {
			return fmt.Errorf("exclude %q: want a path or a pattern of one", p)
		}
		all = append(all, Rule{Pattern: p, Why: "as asked"})
	}
	leave := func(name string, st *unix.Stat_t) bool {
		why := judge(all, c.Keep, name, st.Mode&unix.S_IFMT)
		if why == "" {
			r.seen[name] = directory.MarkOf(st)
			return false
		}
		r.Left = append(r.Left, Left{Path: "/" + name, Why: why})
		return true
	}
	var err error
	if r.Tree, err = directory.Read(ctx, r.path, directory.Options{OneFileSystem: true, Live: true, Leave: leave}); err != nil {
		return err
	}
	if err := r.hold(c.Before); err != nil {
		return err
	}
	if err := r.leaveSecrets(c); err != nil {
		return err
	}
	if err := r.edit(c); err != nil {
		return err
	}
	slices.SortFunc(r.Left, func(a, b Left) int { return strings.Compare(a.Path, b.Path) })
	return nil
}

// leaveSecrets takes out what holds a secret, wherever somebody has put it.
func (r *Root) leaveSecrets(c Config) error {
	var found []Left
	for name, n := range r.Tree.All() {
		if !n.IsRegular() || !looksInto(name, n.Size) || slices.ContainsFunc(c.Keep, func(k string) bool { return inside(k, name) }) {
			continue
		}
		data, err := readAll(n) // not held: that it is still so when it is packed is seen then
		if _, changed := Changed(err); changed {
			data, err = r.content(name, n)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		for _, s := range secretTexts {
			if below(s.dirs, name) && s.text.Match(data) {
				found = append(found, Left{Path: "/" + name, Why: s.why})
				break
			}
		}
	}
	for _, l := range found {
		if err := r.Tree.Remove(l.Path[1:]); err != nil {
			return err
		}
	}
	r.Left = append(r.Left, found...)
	return nil
}

// edit changes the files that come along changed.
func (r *Root) edit(c Config) error {
	all := map[string]edit{}
	for name, e := range edits {
		all[name] = e
	}
	for name, change := range c.Edits {
		all[name] = edit{change, "without this machine's lines"}
	}
	for name, e := range all {
		n, err := r.Tree.Lookup(name)
		if err != nil || !n.IsRegular() {
			continue // a root without it
		}
		data, err := r.content(name, n)
		if err != nil {
			return err
		}
		text := e.change(string(data))
		if text == string(data) {
			continue
		}
		changed := *n
		changed.Size, changed.Open = int64(len(text)), rootfs.Bytes([]byte(text))
		if err := r.Tree.Add(name, changed); err != nil {
			return err
		}
		r.Left = append(r.Left, Left{Path: "/" + name, Why: e.why, Changed: true})
	}
	return nil
}

// hold reads those files into memory that have changed since an earlier capture: they may do so again.
func (r *Root) hold(before *Root) error {
	if before == nil {
		return nil
	}
	for name, n := range r.Tree.All() {
		was, known := before.seen[name]
		if !n.IsRegular() || n.Size == 0 || n.Size > maxHeld || (known && was == r.seen[name]) {
			continue
		}
		if _, err := r.content(name, n); err != nil {
			return err
		}
	}
	return nil
}

const (
	// maxHeld bounds a file that is held in memory because it changes.
	maxHeld = 64 << 20
	// holdTries is how often a file that changes is read before it is given up. A file that is written once a second is
	// read in far less.
	holdTries = 20
)

// content reads a file that the tree has, and keeps what it read as the file's content: what was judged is what comes
// along. A file that changes is read again.
func (r *Root) content(name string, n *rootfs.Node) ([]byte, error) {
	if n.Size == 0 {
		return nil, nil
	}
	for range holdTries {
		data, err := readAll(n)
		var changed *directory.Changed
		if err == nil {
			n.Size, n.Open = int64(len(data)), rootfs.Bytes(data)
			return data, nil
		} else if !errors.As(err, &changed) {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(r.path, name), &st); errors.Is(err, unix.ENOENT) {
			return nil, r.Tree.Remove(name) // it was removed meanwhile
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > maxHeld {
			break
		}
		n.Mode, n.UID, n.GID, n.Size = st.Mode, st.Uid, st.Gid, st.Size
		n.ModTime = time.Unix(st.Mtim.Unix())
		n.Open = directory.OpenLive(filepath.Join(r.path, name), name, directory.MarkOf(&st))
		if st.Size == 0 {
			return nil, nil
		}
	}
	return nil, &Restless{name}
}

func readAll(n *rootfs.Node) ([]byte, error) {
	f, err := n.Open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data := make([]byte, n.Size)
	_, err = io.ReadFull(f, data)
	return data, err
}

// Restless is a file that changes faster than it can be read.
type Restless struct{ Path string }

func (e *Restless) Error() string {
	return "/" + e.Path + " changes while it is read, however often that is tried"
}

func (e *Restless) Try() string {
	return "stop what writes it, or leave it out: masthead image capture --exclude /" + e.Path
}

// Changed gives the file that an error tells of that changed while it was read, if that is what it is about.
func Changed(err error) (path string, ok bool) {
	var c *directory.Changed
	if errors.As(err, &c) {
		return "/" + c.Path, true
	}
	return "", false
}
