package strict

import (
	"errors"
	"strings"
	"testing"
)

type thing struct {
	Name string   `yaml:"name"`
	List []string `yaml:"list"`
	Sub  struct {
		N int `yaml:"n"`
	} `yaml:"sub"`
}

func TestDecode(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"whole", "name: a\nsub:\n  n: 1\n", ""},
		{"unknown field", "name: a\nnmae: b\n", "f.yaml:2: nmae: no such field"},
		{"wrong type", "sub:\n  n: many\n", "f.yaml:2: cannot unmarshal"},
		{"two at once", "nmae: b\nsub: {n: many}\n", "f.yaml:1: nmae: no such field\nf.yaml:2:"},
		{"two documents", "name: a\n---\nname: b\n", "f.yaml: more than one document"},
		{"empty", "# nothing\n", "empty"},
		{"no yaml", "name: [\n", "f.yaml:"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var v thing
			_, err := Decode("f.yaml", []byte(test.text), &v)
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestLines(t *testing.T) {
	var v thing
	lines, err := Decode("f.yaml", []byte("name: a\nlist:\n  - x\n  - y\nsub:\n  n: 1\n"), &v)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"name": 1, "list[1]": 4, "sub.n": 6, "sub.missing": 5, "list[7]": 2, "nothing": 0} {
		if got := lines.Of(path); got != want {
			t.Errorf("line of %s: got %d, want %d", path, got, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("name: a\nlist: [x]\n")
	f.Add("a: &a [*a]\n")
	f.Fuzz(func(t *testing.T, text string) {
		var v thing
		_, err := Decode("f.yaml", []byte(text), &v)
		var fe *FieldError
		if err != nil && !errors.Is(err, ErrEmpty) && !errors.As(err, &fe) {
			t.Fatalf("an error without a place: %v", err)
		}
	})
}
