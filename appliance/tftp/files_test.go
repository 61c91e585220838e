package tftp

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

func TestFromFS(t *testing.T) {
	files := FromFS(fstest.MapFS{"d/f": {Data: []byte("x")}, "dev": {Mode: fs.ModeDevice}})
	for name, want := range map[string]error{"d/f": nil, "d": fs.ErrNotExist, "dev": fs.ErrNotExist, "none": fs.ErrNotExist} {
		f, err := files(name)
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
		if err == nil {
			f.Close()
		}
	}
}

// FuzzName: whatever is asked for, what reaches Files stays below the root and is plain text.
func FuzzName(f *testing.F) {
	for _, s := range []string{"undionly.kpxe", "/efi/x64", "../x", "a/../../x", `..\x`, "//x", "x\x00y", "é", ".", "", "C:x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, asked string) {
		name, ok := cleanName(asked)
		if p := printable(asked); len(p) > 4*200+10 || strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%q is told as %q", asked, p)
		}
		if !ok {
			return
		}
		if !filepath.IsLocal(name) || name != filepath.Clean(name) || strings.ContainsAny(name, "\\:\x00 ") || (asked != name && asked != "/"+name) {
			t.Errorf("%q leads to %q", asked, name)
		}
	})
}
