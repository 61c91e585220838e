package compare

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"

	"masthead/images"
)

// Difference is how one image differs from another.
type Difference struct {
	From     images.Digest `json:"from,omitempty"` // empty: there is nothing to compare with
	To       images.Digest `json:"to"`
	Boot     []Field       `json:"boot"` // of what boots it: kernel, initramfs, command line, init
	Packages Packages      `json:"packages"`
	Files    Files         `json:"files"`
}

// Field is one of an image's own that differs.
type Field struct {
	Field string `json:"field"`
	Old   string `json:"old"`
	New   string `json:"new"`
}

// Files are the names that one root has and the other has not, and those with another file. A folder that is new or gone
// is listed, and all that is in it.
type Files struct {
	Added   []string     `json:"added"`
	Removed []string     `json:"removed"`
	Changed []FileChange `json:"changed"`
}

// FileChange is a name that both roots have, and what of its file differs: content, type, mode, owner, target, device,
// attributes. Times do not count.
type FileChange struct {
	Path string   `json:"path"`
	What []string `json:"what"`
}

// None reports whether there is no difference at all.
func (d Difference) None() bool { return d.From == d.To }

// Images compares two images.
func Images(ctx context.Context, from, to *Image) (Difference, error) {
	d := Difference{From: from.Digest, To: to.Digest, Boot: compareBoot(from.Manifest, to.Manifest)}
	was, err := Installed(from.fsys)
	if err != nil {
		return Difference{}, fmt.Errorf("%s: %w", from.Digest.Short(), err)
	}
	is, err := Installed(to.fsys)
	if err != nil {
		return Difference{}, fmt.Errorf("%s: %w", to.Digest.Short(), err)
	}
	d.Packages = CompareInstalled(was, is)
	d.Files, err = compareFiles(ctx, from, to)
	return d, err
}

func compareBoot(a, b images.Manifest) []Field {
	all := []Field{} // an empty list in JSON, not null
	for _, f := range []Field{
		{"name", a.Name, b.Name}, {"role", string(a.Role), string(b.Role)}, {"kernel", a.KernelRelease, b.KernelRelease},
		{"initramfs", a.Initramfs.Digest.Short(), b.Initramfs.Digest.Short()},
		{"command line", a.Cmdline, b.Cmdline}, {"init", a.Init, b.Init},
	} {
		if f.Old != f.New {
			all = append(all, f)
		}
	}
	return all
}

func compareFiles(ctx context.Context, from, to *Image) (Files, error) {
	d := Files{Added: []string{}, Removed: []string{}, Changed: []FileChange{}}
	was, err := from.list()
	if err != nil {
		return d, err
	}
	is, err := to.list()
	if err != nil {
		return d, err
	}
	for _, name := range slices.Sorted(maps.Keys(is)) {
		if err := ctx.Err(); err != nil {
			return d, err
		}
		before, both := was[name]
		if !both {
			d.Added = append(d.Added, "/"+name)
			continue
		}
		what, err := compareFile(from, to, name, before, is[name])
		if err != nil {
			return d, fmt.Errorf("compare /%s: %w", name, err)
		}
		if len(what) > 0 {
			d.Changed = append(d.Changed, FileChange{"/" + name, what})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(was)) {
		if _, both := is[name]; !both {
			d.Removed = append(d.Removed, "/"+name)
		}
	}
	return d, nil
}

// compareFile says what of one file differs.
func compareFile(from, to *Image, name string, a, b file) ([]string, error) {
	if a.mode.Type() != b.mode.Type() {
		return []string{"type"}, nil
	}
	var what []string
	switch {
	case a.mode.IsRegular():
		same, err := sameContent(from, to, name, a, b)
		if err != nil {
			return nil, err
		}
		if !same {
			what = append(what, "content")
		}
	case a.mode&fs.ModeSymlink != 0:
		x, err := fs.ReadLink(from.fsys, name)
		if err != nil {
			return nil, err
		}
		y, err := fs.ReadLink(to.fsys, name)
		if err != nil {
			return nil, err
		}
		if x != y {
			what = append(what, "target")
		}
	case a.mode&fs.ModeDevice != 0 && a.stat.Rdev != b.stat.Rdev:
		what = append(what, "device")
	}
	if a.mode != b.mode {
		what = append(what, "mode")
	}
	if a.stat.UID != b.stat.UID || a.stat.GID != b.stat.GID {
		what = append(what, "owner")
	}
	if !maps.Equal(a.stat.Xattrs, b.stat.Xattrs) {
		what = append(what, "attributes")
	}
	return what, nil
}

// sameContent reads as little as it can: not what lies in the same chunks, nor what has the same size and time, as rsync
// does. The second says nothing of files that are as new as their image: all times after that of the build are that.
func sameContent(from, to *Image, name string, a, b file) (bool, error) {
	if a.stat.Size != b.stat.Size {
		return false, nil
	}
	if a.stat.Size == 0 || a.mtime.Equal(b.mtime) && a.mtime.Before(from.built) && b.mtime.Before(to.built) {
		return true, nil
	}
	if p, q := from.pieces(a), to.pieces(b); p != nil && slices.Equal(p, q) {
		return true, nil
	}
	x, err := from.fsys.Open(name)
	if err != nil {
		return false, err
	}
	defer x.Close()
	y, err := to.fsys.Open(name)
	if err != nil {
		return false, err
	}
	defer y.Close()
	return sameBytes(x, y, a.stat.Size)
}

// sameBytes compares the next n bytes of two readers.
func sameBytes(x, y io.Reader, n int64) (bool, error) {
	p, q := make([]byte, min(n, 128<<10)), make([]byte, min(n, 128<<10))
	for n > 0 {
		k := min(n, int64(len(p)))
		if _, err := io.ReadFull(x, p[:k]); err != nil {
			return false, err
		}
		if _, err := io.ReadFull(y, q[:k]); err != nil {
			return false, err
		}
		if !bytes.Equal(p[:k], q[:k]) {
			return false, nil
		}
		n -= k
	}
	return true, nil
}
