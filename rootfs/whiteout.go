package rootfs

import (
	"fmt"
	"path"
	"strings"
)

// Names by which a layer removes files of the layers below it (OCI image specification, layer.md, Whiteouts). The
// prefix is reserved: a layer cannot add a file with such a name.
const (
	whiteoutPrefix = ".wh."
	whiteoutOpaque = ".wh..wh..opq" // its directory hides all that is below
	whiteoutMeta   = ".wh..wh."     // AUFS's own files (.wh..wh.plnk, .wh..wh.aufs), which runtimes leave out
)

// Whiteout applies the whiteout called name to t, the layers below. It reports false and does nothing where name is not
// that of a whiteout.
func (t *Tree) Whiteout(name string) (bool, error) {
	dir, base := path.Split(name)
	if !strings.HasPrefix(base, whiteoutPrefix) {
		return false, nil
	}
	if base == whiteoutOpaque {
		return true, t.Clear(dir)
	}
	if strings.HasPrefix(base, whiteoutMeta) {
		return true, nil
	}
	gone := strings.TrimPrefix(base, whiteoutPrefix)
	if gone == "" || gone == "." || gone == ".." {
		return true, fmt.Errorf("whiteout %q names nothing", name)
	}
	return true, t.Remove(dir + gone)
}

// IsWhiteout reports whether a layer's entry called name is there for what it removes.
func IsWhiteout(name string) bool {
	return strings.HasPrefix(path.Base(name), whiteoutPrefix)
}
