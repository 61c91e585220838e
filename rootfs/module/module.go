package module

import (
	"path"
	"strings"
)

// Module is what a module file says about itself.
type Module struct {
	Path     string   // relative to lib/modules/RELEASE, with the suffix of its compression
	Name     string   // as /proc/modules shows it
	Size     int64    // bytes, decompressed
	Aliases  []string `json:",omitempty"` // device patterns and other names
	Softdeps []string `json:",omitempty"` // "pre: a b post: c", one each
	Weakdeps []string `json:",omitempty"`
	Firmware []string `json:",omitempty"` // paths below lib/firmware
	Exports  []string `json:",omitempty"` // symbols that other modules may use
	Deps     []int    `json:",omitempty"` // the modules that define the symbols it uses: indexes in Index.Modules
}

// suffixes are the file name endings of a module and what they say about its compression.
var suffixes = []string{".ko", ".ko.xz", ".ko.zst", ".ko.gz"}

// isModule reports whether a file name is that of a module.
func isModule(name string) bool {
	for _, s := range suffixes {
		if strings.HasSuffix(name, s) {
			return true
		}
	}
	return false
}

// NameOf is the module name of a path: its base up to the first dot, with underscores for dashes (libkmod
// path_to_modname).
func NameOf(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".")
	return Normal(name)
}

// Normal is a module name as the kernel spells it.
func Normal(name string) string { return strings.ReplaceAll(name, "-", "_") }

// PlainPath is the path of the module once decompressed.
func PlainPath(file string) string {
	if i := strings.LastIndex(file, ".ko."); i >= 0 {
		return file[:i+len(".ko")]
	}
	return file
}

// softdepNames lists the modules that a softdep line names, before ("pre:") and after ("post:").
func softdepNames(line string) (pre, post []string) {
	dst := &pre
	for _, f := range strings.Fields(line) {
		switch f {
		case "pre:":
			dst = &pre
		case "post:":
			dst = &post
		default:
			*dst = append(*dst, Normal(f))
		}
	}
	return pre, post
}
