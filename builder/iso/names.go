package iso

import (
	"cmp"
	"fmt"
	"strings"
)

// isoName is an identifier of plain ISO 9660, for readers without Rock Ridge:
// base and extension of upper case letters, digits and underscores, together
// up to 30 characters (ECMA-119 7.5, interchange level 2).
type isoName struct{ base, ext string }

const (
	maxISOName = 30
	maxISOExt  = 3
)

// mangle derives an identifier from a name. Directories have no extension.
func mangle(name string, dir bool) isoName {
	base, ext := name, ""
	if dot := strings.LastIndexByte(name, '.'); dot > 0 && !dir {
		base, ext = name[:dot], name[dot+1:]
	}
	n := isoName{dChars(base), dChars(ext)}
	n.ext = n.ext[:min(len(n.ext), maxISOExt)]
	n.base = n.base[:min(len(n.base), maxISOName-len(n.ext))]
	return n
}

func dChars(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		}
		return '_'
	}, s)
}

// number makes the identifier a different one for each i.
func (n isoName) number(i int) isoName {
	suffix := fmt.Sprintf("_%d", i)
	n.base = n.base[:min(len(n.base), maxISOName-len(n.ext)-len(suffix))] + suffix
	return n
}

// compare orders as ECMA-119 9.3 does: by base, then by extension, each as if
// padded with spaces, which come before all other characters.
func (n isoName) compare(m isoName) int {
	return cmp.Or(strings.Compare(n.base, m.base), strings.Compare(n.ext, m.ext))
}

// identifier is the name as it stands in a directory record.
func (n isoName) identifier(dir bool) string {
	if dir {
		return n.base
	}
	return n.base + "." + n.ext + ";1"
}
