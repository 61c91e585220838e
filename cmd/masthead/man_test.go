package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"masthead/appliance/install"
)

// TestManPages: each page is titled by its command, and what the help has indented is not filled.
func TestManPages(t *testing.T) {
	dir := t.TempDir()
	if _, stderr, code := invoke(t, "man", dir); code != 0 {
		t.Fatal(stderr)
	}
	for _, c := range everyCommand() {
		name := strings.ReplaceAll(c.CommandPath(), " ", "-")
		page, err := os.ReadFile(filepath.Join(dir, name+".1"))
		if hidden(c) || !c.IsAvailableCommand() || c.Name() == "help" {
			continue // has none
		}
		if err != nil {
			t.Error(err)
			continue
		}
		if want := `.TH "` + strings.ToUpper(name) + `" "1"`; !strings.Contains(string(page), want) {
			t.Errorf("%s: no %s in\n%.80s", name, want, page)
		}
		filled := true
		for line := range strings.Lines(string(page)) {
			switch {
			case line == ".EX\n":
				filled = false
			case line == ".EE\n":
				filled = true
			case filled && strings.HasPrefix(line, "  "):
				t.Errorf("%s: is filled: %s", name, line)
			}
		}
	}
	page, err := os.ReadFile(filepath.Join(dir, "masthead-install.1"))
	if want := ".EX\n" + indent(install.Example) + "\n.EE\n"; err != nil || !strings.Contains(string(page), want) {
		t.Errorf("%v: the file of --from is not in masthead-install(1) as it is", err)
	}
}

func TestManText(t *testing.T) {
	for help, want := range map[string]string{
		"One.\nTwo.\n":                     "One.\nTwo.\n",
		"One.\n\n  a: b\n    c: d\n\nTwo.": "One.\n\n\n```\n  a: b\n    c: d\n```\n\nTwo.\n",
		"One:\n  a\n\n  b\nTwo.\n":         "One:\n\n```\n  a\n\n  b\n```\n\nTwo.\n",
		"One.\n\nTwo.\n":                   "One.\n\nTwo.\n",
		"":                                 "",
	} {
		if got := manText(help); got != want {
			t.Errorf("%q: got %q, want %q", help, got, want)
		}
	}
}
