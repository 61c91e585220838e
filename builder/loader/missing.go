package loader

import (
	"fmt"
	"slices"
	"strings"
)

// Missing is a loader that no known path provides.
type Missing struct {
	Name    Name
	Package string // Debian package that has it
	Path    string // where that package puts it
}

// MissingError lists every loader that was wanted and not found.
type MissingError []Missing

// Error names each loader with its package and path, one on a line.
func (e *MissingError) Error() string {
	lines := make([]string, len(*e))
	for i, m := range *e {
		lines[i] = fmt.Sprintf("loader %s is missing: no %s (Debian package %s)", m.Name, m.Path, m.Package)
	}
	return strings.Join(lines, "\n")
}

// Try is the command that brings what is missing.
func (e *MissingError) Try() string {
	var pkgs []string
	for _, m := range *e {
		if !slices.Contains(pkgs, m.Package) {
			pkgs = append(pkgs, m.Package)
		}
	}
	return "apt-get install " + strings.Join(pkgs, " ")
}
