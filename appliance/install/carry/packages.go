package carry

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"pault.ag/go/debian/version"
)

// Package is an entry of dpkg's status file.
type Package struct {
	Name    string // NAME, or NAME:ARCH where several architectures may be installed at once
	Version string
	Status  string // install ok installed
	Text    string // the whole entry
}

// Present reports whether the package's files are there.
func (p Package) Present() bool { return strings.HasSuffix(p.Status, " installed") }

// ParseStatus reads a status file (deb822(5)), in the order of its entries.
func ParseStatus(text string) []Package {
	var all []Package
	for _, entry := range strings.Split(text, "\n\n") {
		entry = strings.Trim(entry, "\n")
		if entry == "" {
			continue
		}
		p := Package{Text: entry}
		arch, same := "", false
		for line := range strings.Lines(entry) {
			key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
			if value = strings.TrimSpace(value); !ok || strings.HasPrefix(line, " ") {
				continue
			}
			switch key {
			case "Package":
				p.Name = value
			case "Version":
				p.Version = value
			case "Status":
				p.Status = value
			case "Architecture":
				arch = value
			case "Multi-Arch":
				same = value == "same"
			}
		}
		if same && arch != "" { // dpkg names the files of such a package with its architecture
			p.Name += ":" + arch
		}
		if p.Name != "" {
			all = append(all, p)
		}
	}
	return all
}

// Side is whose version of a package the next root has.
type Side string

const (
	Image   Side = "image"   // as the new image has it, which may be not at all
	Machine Side = "machine" // as this machine has it
)

// Choice is what becomes of a package.
type Choice struct {
	Name string `json:"name"`
	Take Side   `json:"take"`
	Text string `json:"-"`              // the entry of the status file; empty: none
	Note string `json:"note,omitempty"` // for people; empty: nothing worth a word
}

// Choose decides for every package. was is the image below this machine's root, now what the machine has, next the new
// image. The choices come in the order of the new image's packages, then the machine's own. Pure.
//
//	not changed on this machine          as the new image has it
//	installed here, not in the new image  stays
//	installed or upgraded here, in both   the newer version; of the same one, the image's
//	removed here, in the new image        comes back, which is said
func Choose(was, now, next []Package) []Choice {
	wasBy, nowBy, nextBy := byName(was), byName(now), byName(next)
	var all []Choice
	for _, p := range next {
		all = append(all, chooseFor(p.Name, wasBy, nowBy, nextBy))
	}
	for _, p := range now {
		if _, done := nextBy[p.Name]; !done {
			all = append(all, chooseFor(p.Name, wasBy, nowBy, nextBy))
		}
	}
	return all
}

func byName(all []Package) map[string]Package {
	m := make(map[string]Package, len(all))
	for _, p := range all {
		m[p.Name] = p
	}
	return m
}

func chooseFor(name string, was, now, next map[string]Package) Choice {
	w, n, x := was[name], now[name], next[name]
	image := func(note string) Choice { return Choice{Name: name, Take: Image, Text: x.Text, Note: note} }
	switch {
	case n.Text == w.Text:
		if !x.Present() && n.Present() {
			return image(name + " " + n.Version + " is not in the new image any more")
		}
		return image("")
	case !n.Present():
		if x.Present() {
			return image(name + " was removed here, and the new image has it: it is back")
		}
		return Choice{Name: name, Take: Machine, Text: n.Text} // its configuration may be left, which dpkg remembers
	case !x.Present():
		return Choice{Name: name, Take: Machine, Text: n.Text, Note: name + " " + n.Version + " was installed here, and stays"}
	case n.Version == w.Version && w.Present():
		return image("") // the entry differs, not the package: held, or marked otherwise
	case newer(n.Version, x.Version):
		return Choice{Name: name, Take: Machine, Text: n.Text, Note: fmt.Sprintf("%s %s was installed here, and is newer than %s of the new image: it stays", name, n.Version, x.Version)}
	case n.Version != x.Version:
		return image(fmt.Sprintf("%s %s was installed here; the new image has %s", name, n.Version, x.Version))
	}
	return image("")
}

// newer reports whether a is a later version than b (deb-version(7)). What is no version is not later.
func newer(a, b string) bool {
	va, err := version.Parse(a)
	if err != nil {
		return false
	}
	vb, err := version.Parse(b)
	if err != nil {
		return true
	}
	return version.Compare(va, vb) > 0
}

// StatusOf is the status file of the choices.
func StatusOf(choices []Choice) string {
	var b strings.Builder
	for _, c := range choices {
		if c.Text != "" {
			b.WriteString(c.Text + "\n\n")
		}
	}
	return b.String()
}

// Notes are what people should know of the choices.
func Notes(choices []Choice) []string {
	var notes []string
	for _, c := range choices {
		if c.Note != "" {
			notes = append(notes, c.Note)
		}
	}
	slices.Sort(notes)
	return notes
}

// Owners tells for each path whose package it belongs to, by the lists of the packages. A path of several is the
// machine's if one of them is.
func Owners(choices []Choice, lists func(name string, side Side) []string) map[string]Side {
	owners := map[string]Side{}
	for _, c := range choices {
		paths := append(slices.Clone(lists(c.Name, Machine)), lists(c.Name, Image)...)
		for _, path := range paths {
			path = realPath(path)
			if owners[path] != Machine {
				owners[path] = c.Take
			}
		}
	}
	delete(owners, "")
	return owners
}

// merged are the folders that are links into /usr since Debian 12, while packages may name files by them.
var merged = []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"}

// realPath is a path of a package's list as a tree has it.
func realPath(path string) string {
	path = strings.Trim(path, "/.")
	first, _, deeper := strings.Cut(path, "/")
	if deeper && slices.Contains(merged, first) {
		return "usr/" + path
	}
	return path
}

// MergeLines puts the entries of an account file together (passwd(5), shadow(5), group(5)): those of this machine, and
// those that only the new image has. The first field names an entry.
func MergeLines(machine, image string) string {
	have := map[string]bool{}
	var lines []string
	for _, text := range []string{machine, image} {
		for line := range strings.Lines(text) {
			line = strings.TrimSuffix(line, "\n")
			name, _, _ := strings.Cut(line, ":")
			if line == "" || have[name] {
				continue
			}
			have[name] = true
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}

// names are the packages with a choice of that side, sorted.
func names(choices []Choice, side Side) []string {
	set := map[string]bool{}
	for _, c := range choices {
		if c.Take == side && c.Text != "" {
			set[c.Name] = true
		}
	}
	return slices.SortedFunc(maps.Keys(set), cmp.Compare[string])
}
