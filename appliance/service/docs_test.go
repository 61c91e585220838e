package service

import (
	"os"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// TestDocs reads the examples of docs/services.md as a configuration.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/services.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "```yaml\n")[1:]
	if len(blocks) < 5 {
		t.Fatalf("%d examples", len(blocks))
	}
	for _, block := range blocks {
		block, _, _ = strings.Cut(block, "```")
		var doc struct {
			Services []Service
			Domains  []Domain
		}
		d := yaml.NewDecoder(strings.NewReader(block))
		d.KnownFields(true)
		if err := d.Decode(&doc); err != nil {
			t.Errorf("%v in:\n%s", err, block)
		}
		if err := Validate(doc.Services, doc.Domains, nil); err != nil {
			t.Errorf("%v in:\n%s", err, block)
		}
	}
}
