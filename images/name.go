package images

import (
	"fmt"
	"regexp"
)

var namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$`)

// ValidName checks the name of an image or a tag: it appears in paths, URLs and kernel command lines, so it is kept
// to what needs quoting in none of them.
func ValidName(s string) error {
	if !namePattern.MatchString(s) {
		return fmt.Errorf("%q: want 1 to 64 of a-z, 0-9, dot, dash, underscore, beginning and ending with a letter or digit", s)
	}
	return nil
}
