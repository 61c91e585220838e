package configuration

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

var yamlBlock = regexp.MustCompile("(?ms)^( *|[0-9]+\\. )```yaml\n(.*?)^ *```$")

// yamlBlocks are the examples of a page.
func yamlBlocks(t *testing.T, page string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", page))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, m := range yamlBlock.FindAllStringSubmatch(string(text), -1) {
		indent := strings.Repeat(" ", len(m[1])) // of a list's item
		all = append(all, strings.ReplaceAll("\n"+m[2], "\n"+indent, "\n")[1:])
	}
	if n := strings.Count(string(text), "```yaml"); len(all) != n || n == 0 {
		t.Fatalf("%s: %d of %d examples found", page, len(all), n)
	}
	return all
}

// What the administrator's page shows is right.
func TestDocumentation(t *testing.T) {
	for _, page := range []string{"failover.md", "data.md"} {
		for i, text := range yamlBlocks(t, page) {
			if _, err := Parse(fmt.Sprintf("%s, example %d", page, i+1), []byte(text)); err != nil {
				t.Errorf("%v\n%s", err, text)
			}
		}
	}
}

// The whole example names every key of the document.
func TestDocumentationIsWhole(t *testing.T) {
	var longest string
	for _, text := range yamlBlocks(t, "failover.md") {
		if len(text) > len(longest) {
			longest = text
		}
	}
	var shown struct {
		Top   map[string]any            `yaml:",inline"`
		Heads map[string]map[string]any `yaml:"heads"`
	}
	if err := yaml.Unmarshal([]byte(longest), &shown); err != nil {
		t.Fatal(err)
	}
	for _, key := range keys(reflect.TypeFor[Document]()) {
		if _, ok := shown.Top[key]; !ok && key != "heads" {
			t.Errorf("%s is not there", key)
		}
	}
	for _, key := range keys(reflect.TypeFor[Head]()) {
		if _, ok := shown.Heads["head1"][key]; !ok {
			t.Errorf("heads.head1.%s is not there", key)
		}
	}
	for _, key := range append(keys(reflect.TypeFor[Serial]()), keys(reflect.TypeFor[Watchdog]())...) {
		if !strings.Contains(longest, key+":") {
			t.Errorf("%s is not there", key)
		}
	}
}

func keys(t reflect.Type) []string {
	var all []string
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		all = append(all, name)
	}
	return all
}
