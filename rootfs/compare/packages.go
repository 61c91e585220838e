package compare

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
)

// Package is one that is installed.
type Package struct {
	Name    string `json:"name"`
	Arch    string `json:"arch,omitempty"`
	Version string `json:"version"`
}

// Upgrade is a package that both have, in two versions.
type Upgrade struct {
	Name string `json:"name"`
	Arch string `json:"arch,omitempty"`
	From string `json:"from"`
	To   string `json:"to"`
}

// Packages are the differences between two sets of packages, each by name.
type Packages struct {
	Added    []Package `json:"added"`
	Removed  []Package `json:"removed"`
	Upgraded []Upgrade `json:"upgraded"` // also to an older version
}

// dpkgStatus is where dpkg keeps what is installed (dpkg(1), FILES).
const dpkgStatus = "var/lib/dpkg/status"

// maxStatus bounds it: that of a full desktop has 5 MB.
const maxStatus = 256 << 20

// Installed reads what dpkg says is installed in a root. One without dpkg has nothing.
func Installed(fsys fs.FS) ([]Package, error) {
	f, err := fsys.Open(dpkgStatus)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("packages: %w", err)
	}
	defer f.Close()
	return ParseStatus(f)
}

// ParseStatus reads a status file of dpkg (deb-control(5)): those of its packages that are installed.
func ParseStatus(r io.Reader) ([]Package, error) {
	lines := bufio.NewScanner(io.LimitReader(r, maxStatus))
	lines.Buffer(make([]byte, 64<<10), 4<<20)
	var all []Package
	var p Package
	installed := false
	end := func() {
		if installed && p.Name != "" {
			all = append(all, p)
		}
		p, installed = Package{}, false
	}
	for lines.Scan() {
		line := lines.Text()
		if line == "" {
			end()
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if !ok || strings.HasPrefix(line, " ") {
			continue
		}
		value = strings.TrimSpace(value)
		switch strings.ToLower(key) {
		case "package":
			p.Name = value
		case "version":
			p.Version = value
		case "architecture":
			p.Arch = value
		case "status":
			installed = strings.HasSuffix(value, " installed")
		}
	}
	end()
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("packages: %s: %w", dpkgStatus, err)
	}
	return all, nil
}

// CompareInstalled says how two sets of packages differ.
func CompareInstalled(from, to []Package) Packages {
	type key struct{ name, arch string }
	was, is := map[key]Package{}, map[key]Package{}
	for _, p := range from {
		was[key{p.Name, p.Arch}] = p
	}
	for _, p := range to {
		is[key{p.Name, p.Arch}] = p
	}
	d := Packages{Added: []Package{}, Removed: []Package{}, Upgraded: []Upgrade{}} // empty lists in JSON, not null
	for k, p := range is {
		if before, both := was[k]; !both {
			d.Added = append(d.Added, p)
		} else if before.Version != p.Version {
			d.Upgraded = append(d.Upgraded, Upgrade{p.Name, p.Arch, before.Version, p.Version})
		}
	}
	for k, p := range was {
		if _, both := is[k]; !both {
			d.Removed = append(d.Removed, p)
		}
	}
	byName := func(a, b Package) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Arch, b.Arch)) }
	slices.SortFunc(d.Added, byName)
	slices.SortFunc(d.Removed, byName)
	slices.SortFunc(d.Upgraded, func(a, b Upgrade) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Arch, b.Arch)) })
	return d
}
