package fence

import (
	"os"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// TestDocumentation: the examples of docs/fencing.md are good, and its tables have all parameters.
func TestDocumentation(t *testing.T) {
	text, err := os.ReadFile("../../docs/fencing.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := strings.Split(string(text), "```yaml\n")[1:]
	if len(examples) < 2 {
		t.Fatalf("%d examples", len(examples))
	}
	for _, example := range examples {
		example, _, _ = strings.Cut(example, "```")
		// The ellipsis stands for the rest of a fingerprint.
		for _, short := range []string{"3f:9a:…", "a0:17:…"} {
			example = strings.ReplaceAll(example, short, strings.Repeat("ab", 32))
		}
		var doc struct {
			Devices []Device `yaml:"fence_devices"`
			Heads   map[string]struct {
				Fence [][]Step `yaml:"fence"`
			} `yaml:"heads"`
		}
		if err := yaml.Unmarshal([]byte(example), &doc); err != nil {
			t.Fatal(err)
		}
		c := Config{Devices: doc.Devices, Heads: map[string][][]Step{}}
		for name, h := range doc.Heads {
			c.Heads[name] = h.Fence
		}
		f, err := New(c)
		if err != nil {
			t.Errorf("%v in\n%s", err, example)
			continue
		}
		for name := range doc.Heads {
			if !f.Possible(name) {
				t.Errorf("%s cannot be fenced with\n%s", name, example)
			}
		}
	}
	for _, n := range natives() {
		_, section, found := strings.Cut(string(text), "### `"+n.name+"`")
		if !found {
			t.Errorf("no section about %s", n.name)
			continue
		}
		section, _, _ = strings.Cut(section, "\n### ")
		for _, p := range n.params {
			if !strings.Contains(section, "`"+p.Name+"`") {
				t.Errorf("%s: parameter %s is not described", n.name, p.Name)
			}
		}
	}
}
