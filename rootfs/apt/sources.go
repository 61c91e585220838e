package apt

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"pault.ag/go/debian/control"
)

// Source is one archive that a machine is configured to get binary packages from.
type Source struct {
	URI        string   // of the archive, without a slash at the end: what dists/ and pool/ are below
	Suites     []string // bookworm, bookworm-updates, …
	Components []string // main, …
	SignedBy   []string // keyring files; empty: the machine's trusted keyrings
	SignedKey  string   // an ASCII-armored key in the source itself, instead of SignedBy
}

// sourceName is the names that apt accepts in sources.list.d (sources.list(5)).
var sourceName = regexp.MustCompile(`^[A-Za-z0-9_.-]+\.(list|sources)$`)

// Sources reads the package sources of the machine whose file system is at root ("/" for this one), in apt's order. A
// line that makes no sense is an error; sources of source packages, disabled ones, flat archives and media (cdrom:)
// are left out.
func Sources(root string) ([]Source, error) {
	var files []string
	if _, err := os.Stat(filepath.Join(root, "etc/apt/sources.list")); err == nil {
		files = append(files, "etc/apt/sources.list")
	}
	entries, err := os.ReadDir(filepath.Join(root, "etc/apt/sources.list.d"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("package sources: %w", err)
	}
	for _, e := range entries { // ReadDir sorts, as apt does
		if sourceName.MatchString(e.Name()) && !e.IsDir() {
			files = append(files, path.Join("etc/apt/sources.list.d", e.Name()))
		}
	}
	var all []Source
	var errs []error
	for _, name := range files {
		got, err := readFile(root, name)
		if err != nil {
			errs = append(errs, err)
		}
		all = append(all, got...)
	}
	return all, errors.Join(errs...)
}

func readFile(root, name string) ([]Source, error) {
	f, err := os.Open(filepath.Join(root, name))
	if err != nil {
		return nil, fmt.Errorf("package sources: %w", err)
	}
	defer f.Close()
	parse := parseList
	if strings.HasSuffix(name, ".sources") {
		parse = parseDeb822
	}
	sources, err := parse(f)
	if err != nil {
		return nil, fmt.Errorf("package sources: /%s: %w", name, err)
	}
	return expandMirrors(root, sources)
}

// parseList reads the one-line format: deb [option=value …] URI SUITE COMPONENT….
func parseList(r io.Reader) ([]Source, error) {
	var all []Source
	sc := bufio.NewScanner(r)
	for n := 1; sc.Scan(); n++ {
		line, _, _ := strings.Cut(sc.Text(), "#")
		kind, rest, _ := strings.Cut(strings.Join(strings.Fields(line), " "), " ")
		if kind != "deb" {
			if kind != "" && kind != "deb-src" {
				return nil, fmt.Errorf("line %d: %q: want deb or deb-src", n, kind)
			}
			continue
		}
		var options string
		if strings.HasPrefix(rest, "[") {
			var ok bool
			if options, rest, ok = strings.Cut(rest[1:], "]"); !ok {
				return nil, fmt.Errorf("line %d: options are not closed by ]", n)
			}
		}
		f := strings.Fields(rest)
		if len(f) < 2 {
			return nil, fmt.Errorf("line %d: want a URI and a suite", n)
		}
		s := Source{URI: f[0], Suites: f[1:2], Components: f[2:]}
		for _, o := range strings.Fields(options) {
			if key, value, _ := strings.Cut(o, "="); strings.EqualFold(key, "signed-by") {
				s.SignedBy = splitList(value)
			}
		}
		all = appendUsable(all, s)
	}
	return all, sc.Err()
}

// parseDeb822 reads the format of .sources files: paragraphs with the fields Types, URIs, Suites, Components.
func parseDeb822(r io.Reader) ([]Source, error) {
	pr, err := control.NewParagraphReader(r, nil)
	if err != nil {
		return nil, err
	}
	paragraphs, err := pr.All()
	if err != nil {
		return nil, err
	}
	var all []Source
	for _, p := range paragraphs {
		field := map[string]string{} // apt takes the names in any case
		for key, value := range p.Values {
			field[strings.ToLower(key)] = strings.TrimSpace(value)
		}
		if !slices.Contains(strings.Fields(field["types"]), "deb") || disabled(field["enabled"]) {
			continue
		}
		uris, suites := strings.Fields(field["uris"]), strings.Fields(field["suites"])
		if len(uris) == 0 || len(suites) == 0 {
			return nil, errors.New("a paragraph without URIs or Suites")
		}
		for _, uri := range uris {
			s := Source{URI: uri, Suites: suites, Components: strings.Fields(field["components"])}
			if key := field["signed-by"]; strings.Contains(key, "-----BEGIN PGP") {
				s.SignedKey = key
			} else {
				s.SignedBy = splitList(key)
			}
			all = appendUsable(all, s)
		}
	}
	return all, nil
}

// disabled is apt's StringToBool for what it takes as false.
func disabled(s string) bool {
	return slices.Contains([]string{"no", "false", "without", "off", "disable", "0"}, strings.ToLower(s))
}

// appendUsable adds s unless it is of a kind that cannot be used here: flat archives (a suite that ends in a slash) have
// no dists/, and a medium cannot be asked for.
func appendUsable(all []Source, s Source) []Source {
	s.Suites = slices.DeleteFunc(slices.Clone(s.Suites), func(suite string) bool { return strings.HasSuffix(suite, "/") })
	if len(s.Suites) == 0 || strings.HasPrefix(s.URI, "cdrom:") {
		return all
	}
	s.URI = strings.TrimRight(s.URI, "/")
	return append(all, s)
}

// splitList splits keyring paths, which commas or white space may separate.
func splitList(s string) []string {
	if strings.TrimSpace(s) == "" {
		return nil
	}
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\t' })
}

// expandMirrors replaces mirror+file: URIs, as Debian's cloud images have them, by the URIs in the named file
// (apt-transport-mirror(1)). Mirror lists that must be downloaded first are left out.
func expandMirrors(root string, sources []Source) ([]Source, error) {
	var all []Source
	for _, s := range sources {
		if !strings.HasPrefix(s.URI, "mirror") {
			all = append(all, s)
			continue
		}
		name, ok := strings.CutPrefix(s.URI, "mirror+file:")
		if !ok {
			continue
		}
		name = "/" + strings.TrimLeft(name, "/")
		data, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return nil, fmt.Errorf("package sources: mirror list: %w", err)
		}
		for line := range strings.Lines(string(data)) {
			line, _, _ = strings.Cut(line, "#")
			if f := strings.Fields(line); len(f) > 0 {
				m := s
				m.URI = strings.TrimRight(f[0], "/")
				all = append(all, m)
			}
		}
	}
	return all, nil
}
