package images

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
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

var hostPart = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// ValidHost checks the name of a machine. Each head is also a node, so both have the same rule: a host name of one label
// (RFC 1123, 2.1), lower case, as it appears in DNS, URLs and node sets. The error does not repeat the name.
func ValidHost(s string) error {
	if !hostPart.MatchString(s) || strings.Trim(s, "0123456789") == "" {
		return errors.New("want a host name: 1 to 63 of a-z, 0-9 and dash, not a number")
	}
	return nil
}
