package carry

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Roots are the trees between which files are carried.
type Roots struct {
	Upper string // of the root that runs
	Was   fs.FS  // the image below it
	Next  fs.FS  // the new image
}

// Report is what was carried, or would be.
type Report struct {
	Files     int      `json:"files"` // and directories, links
	Bytes     int64    `json:"bytes"`
	Dropped   int      `json:"dropped"`
	Packages  []string `json:"packages,omitempty"` // of this machine, that stay
	Notes     []string `json:"notes,omitempty"`
	Conflicts []string `json:"conflicts,omitempty"`
}

// plan is everything that is decided before anything is written.
type plan struct {
	roots   Roots
	choices []Choice
	owners  map[string]Side
	sides   map[string]Side
	entries []planned
	report  Report
}

type planned struct {
	Entry
	Decision
	info fs.FileInfo
}

const statusFile = "var/lib/dpkg/status"

// Plan decides what is carried. It reads, and changes nothing.
func Plan(r Roots) (*plan, error) {
	p := &plan{roots: r}
	now, err := os.ReadFile(filepath.Join(r.Upper, statusFile))
	was := readText(r.Was, statusFile)
	if errors.Is(err, fs.ErrNotExist) {
		now = []byte(was)
	} else if err != nil {
		return nil, fmt.Errorf("carry the overlay: %w", err)
	}
	p.choices = Choose(ParseStatus(was), ParseStatus(string(now)), ParseStatus(readText(r.Next, statusFile)))
	p.sides = map[string]Side{}
	for _, c := range p.choices {
		p.sides[c.Name] = c.Take
	}
	p.owners = Owners(p.choices, p.list)
	if err := p.walk(); err != nil {
		return nil, fmt.Errorf("carry the overlay: %w", err)
	}
	p.report.Packages, p.report.Notes = names(p.choices, Machine), Notes(p.choices)
	return p, nil
}

// list is the files of a package, as this machine or the new image has it.
func (p *plan) list(name string, side Side) []string {
	file := dpkgInfo + name + ".list"
	text := ""
	if side == Image {
		text = readText(p.roots.Next, file)
	} else if data, err := os.ReadFile(filepath.Join(p.roots.Upper, file)); err == nil {
		text = string(data)
	} else {
		text = readText(p.roots.Was, file)
	}
	return strings.Split(text, "\n")
}

// Report is what Apply will do.
func (p *plan) Report() Report { return p.report }

func (p *plan) walk() error {
	err := filepath.WalkDir(p.roots.Upper, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(p.roots.Upper, name)
		if err != nil || rel == "." {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		e := Entry{Path: rel, Kind: kindOf(info)}
		e.Opaque = e.Kind == Directory && isOpaque(name)
		e.InNext, e.Differs = p.compare(rel, e.Kind)
		dec := Decide(e, p.owners, p.sides)
		p.entries = append(p.entries, planned{e, dec, info})
		if dec.Conflict != "" {
			p.report.Conflicts = append(p.report.Conflicts, dec.Conflict)
		}
		if dec.Do == Drop {
			p.report.Dropped++
			if e.Kind == Directory {
				return filepath.SkipDir
			}
			return nil
		}
		if e.Kind != Directory {
			p.report.Files++
			p.report.Bytes += size(info)
		}
		return nil
	})
	slices.Sort(p.report.Conflicts)
	return err
}

func size(info fs.FileInfo) int64 {
	if !info.Mode().IsRegular() {
		return 0
	}
	return info.Size()
}

// kindOf tells a whiteout, a character device 0/0 (Documentation/filesystems/overlayfs.rst), from the rest.
func kindOf(info fs.FileInfo) Kind {
	if info.IsDir() {
		return Directory
	}
	if info.Mode()&fs.ModeCharDevice != 0 && rdev(info) == 0 {
		return Whiteout
	}
	return File
}

// opaqueAttr marks a directory that hides the one below it, of a mount in the machine's own namespace, or in that of a user.
var opaqueAttrs = []string{"trusted.overlay.opaque", "user.overlay.opaque"}

func isOpaque(name string) bool {
	for _, attr := range opaqueAttrs {
		var b [4]byte
		if n, err := unix.Lgetxattr(name, attr, b[:]); err == nil && n > 0 && b[0] == 'y' {
			return true
		}
	}
	return false
}

// compare tells whether the new image has a path, and whether the two images differ there.
func (p *plan) compare(path string, kind Kind) (inNext, differs bool) {
	next, err := fs.Stat(noLink{p.roots.Next}, path)
	if err != nil {
		return false, false
	}
	was, err := fs.Stat(noLink{p.roots.Was}, path)
	if err != nil || kind == Directory {
		return true, false
	}
	if was.Mode().Type() != next.Mode().Type() || was.Mode().IsRegular() && was.Size() != next.Size() {
		return true, true
	}
	if !was.Mode().IsRegular() {
		return true, false
	}
	return true, !bytes.Equal(sum(p.roots.Was, path), sum(p.roots.Next, path))
}

// noLink looks at a path itself, and not at what a link there means.
type noLink struct{ fs.FS }

func (n noLink) Stat(name string) (fs.FileInfo, error) {
	if l, ok := n.FS.(fs.ReadLinkFS); ok {
		return l.Lstat(name)
	}
	return fs.Stat(n.FS, name)
}

func sum(fsys fs.FS, path string) []byte {
	f, err := fsys.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil // one that cannot be read differs from one that can
	}
	return h.Sum(nil)
}

func readText(fsys fs.FS, path string) string {
	data, err := fs.ReadFile(fsys, path)
	if err != nil {
		return "" // no Debian, or no such package
	}
	return string(data)
}
