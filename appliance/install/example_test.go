package install

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// TestExample: the example is good, has every key, and is the one of docs/install.md.
func TestExample(t *testing.T) {
	key := "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
	short := strings.Replace(Example, "ssh-ed25519 AAAA...", key, 1)
	for _, text := range []string{short, regexp.MustCompile(`(?m)^# `).ReplaceAllString(short, "")} {
		if _, err := ParseAnswers("example", []byte(text)); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Answers]()) {
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if !regexp.MustCompile(`(?m)^(# )?` + name + `: ?|; or ` + name + `:`).MatchString(Example) {
			t.Errorf("%s is not in it", name)
		}
	}
	doc, err := os.ReadFile("../../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), "```yaml\n"+Example+"```\n") {
		t.Error("docs/install.md has another one")
	}
}
