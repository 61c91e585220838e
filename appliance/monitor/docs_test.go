package monitor_test

import (
	"os"
	"strings"
	"testing"

	"masthead/appliance/configuration"
)

// TestManual: the examples of docs/monitoring.md are configurations.
func TestManual(t *testing.T) {
	text, err := os.ReadFile("../../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := 0
	for _, part := range strings.Split(string(text), "```yaml\n")[1:] {
		example, _, _ := strings.Cut(part, "```")
		if _, err := configuration.Parse("docs/monitoring.md", []byte(example)); err != nil {
			t.Errorf("%v\n%s", err, example)
		}
		examples++
	}
	if examples < 2 {
		t.Errorf("%d examples", examples)
	}
}
