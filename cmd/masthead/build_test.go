package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whatever is wrong with a definition, it is said what to do.
func TestDefinitionHints(t *testing.T) {
	dir := t.TempDir()
	const good = "name: a\nrole: worker\nroot: {minimal: true}\nkernel: {package: linux-image-amd64}\n"
	for name, text := range map[string]string{"bad.yaml": "nmae: a\n", "keys.yaml": good + "ssh_keys: [/nope]\n", "empty.yaml": "", "twice.yaml": good + "carries: [good.yaml]\n", "good.yaml": good} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for file, want := range map[string]string{
		"bad.yaml": "bad.yaml:1: nmae: no such field", "keys.yaml": "keys.yaml:5: ssh_keys[0]: ", "empty.yaml": "empty", "twice.yaml": "the name a is taken", "absent.yaml": "no such file",
	} {
		_, err := loadCarried(filepath.Join(dir, file))
		if err == nil || !strings.Contains(err.Error(), want) || tryText(err) == "" {
			t.Errorf("%s: got %v, try %q; want %q and a try", file, err, tryText(err), want)
		}
	}
	if _, err := loadCarried(filepath.Join(dir, "good.yaml")); err != nil {
		t.Error(err)
	}
}
