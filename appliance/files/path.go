package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"masthead/node/wire"
)

// PathError is a path whose file must not or cannot be the same on all heads.
type PathError struct {
	Path, Reason, Fix string
}

func (e *PathError) Error() string { return fmt.Sprintf("file %q: %s", e.Path, e.Reason) }

// Try says what helps; empty if nothing does.
func (e *PathError) Try() string { return e.Fix }

// kernel are folders whose files are no files.
var kernel = []string{"/proc", "/sys", "/dev"}

// own are files that each machine must have for itself.
var own = map[string]string{
	"/etc/machine-id":          "each machine must have its own (machine-id(5))",
	"/var/lib/dbus/machine-id": "each machine must have its own (machine-id(5))",
	"/etc/hostname":            "each machine has its own name",
	"/etc/mtab":                "it is made by the kernel",
}

// CheckPath refuses paths that are dangerous by their name; forbidden are folders, such as masthead's own. Pure.
func CheckPath(path string, forbidden []string) error {
	bad := func(format string, args ...any) error {
		return &PathError{Path: path, Reason: fmt.Sprintf(format, args...)}
	}
	switch {
	case !strings.HasPrefix(path, "/"):
		return &PathError{path, "it is not an absolute path", "write the path from /"}
	case path == "/" || filepath.Clean(path) != path:
		return bad("want a plain absolute path, such as %s", filepath.Clean(path))
	case len(path) > 250:
		return bad("it is longer than 250 bytes")
	}
	for _, c := range path {
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("._:@+=~/-", c)
		if !ok {
			return bad("%q cannot be in a path here: want letters, digits and ._:@+=~/-", c)
		}
	}
	if reason, ok := own[path]; ok {
		return bad("%s", reason)
	}
	for _, dir := range kernel {
		if within(path, dir) {
			return bad("%s holds no files but the kernel's", dir)
		}
	}
	for _, dir := range forbidden {
		if within(path, dir) {
			return bad("%s is masthead's own", dir)
		}
	}
	return nil
}

func within(path, dir string) bool {
	dir = filepath.Clean(dir)
	return path == dir || strings.HasPrefix(path, dir+"/")
}

// checkParent resolves the links on the way to a file, below root, and refuses a way that leads where it must not.
func (k *Keeper) checkParent(path string) error {
	dir := filepath.Dir(k.at(path))
	for { // the deepest folder that is there
		_, err := os.Lstat(dir)
		if err == nil || !errors.Is(err, fs.ErrNotExist) || dir == "/" {
			break
		}
		dir = filepath.Dir(dir)
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return &PathError{Path: path, Reason: "the way to it cannot be followed: " + err.Error()}
	}
	if k.conf.Root != "" {
		root, err := filepath.EvalSymlinks(k.conf.Root)
		if err != nil {
			return err
		}
		real = "/" + strings.TrimPrefix(strings.TrimPrefix(real, root), "/")
	}
	for _, bad := range append(kernel, k.conf.Forbidden...) {
		if within(real, bad) {
			return &PathError{Path: path, Reason: "a link leads it into " + bad}
		}
	}
	return nil
}

// CheckVersion refuses what cannot be a version of a file.
func CheckVersion(path string, v wire.FileVersion) error {
	switch {
	case !v.Digest.Valid():
		return &PathError{Path: path, Reason: fmt.Sprintf("digest %q", v.Digest)}
	case v.Size < 0 || v.Size > wire.MaxFile:
		return &PathError{Path: path, Reason: fmt.Sprintf("%d bytes, at most %d", v.Size, wire.MaxFile), Fix: "put large files into an image"}
	case v.Mode&^0o7777 != 0:
		return &PathError{Path: path, Reason: fmt.Sprintf("mode %o", v.Mode)}
	case v.UID < 0 || v.GID < 0:
		return &PathError{Path: path, Reason: fmt.Sprintf("owner %d, group %d", v.UID, v.GID)}
	}
	return nil
}
