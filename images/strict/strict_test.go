package strict

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type thing struct {
	Name string   `yaml:"name"`
	List []string `yaml:"list"`
	Sub  sub      `yaml:"sub"`

	Gateway own            `yaml:"gateway"`
	Own     netip.Addr     `yaml:"own"`
	VIPs    []netip.Prefix `yaml:"vips"`
	Wait    time.Duration  `yaml:"wait"`
	On      *bool          `yaml:"on"`
	More    map[string]sub `yaml:"more"`
	Any     map[string]any `yaml:"any"`
}

type sub struct {
	N int `yaml:"n"`
}

// own is an address in a type of its own.
type own struct{ netip.Addr }

func TestDecode(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"whole", "name: a\nsub:\n  n: 1\n", ""},
		{"unknown field", "name: a\nnmae: b\n", "f.yaml:2: nmae: no such field"},
		{"wrong type", "sub:\n  n: many\n", "f.yaml:2: sub.n: \"many\" is not a whole number"},
		{"two at once", "nmae: b\nsub: {n: many}\n", "f.yaml:1: nmae: no such field\nf.yaml:2:"},
		{"all at once", "sub:\n  n: many\n  m: 1\ngateway: foo\nown: bar\nvips: [10.77.0.100]\nwait: 10\nlist: a\nname: [b]\nsub2: 5\non: maybe\n",
			strings.Join([]string{
				`f.yaml:2: sub.n: "many" is not a whole number that fits here`,
				`f.yaml:3: sub.m: no such field`,
				`f.yaml:4: gateway: "foo" is not an address, such as 10.77.0.1`,
				`f.yaml:5: own: "bar" is not an address, such as 10.77.0.1`,
				`f.yaml:6: vips[0]: "10.77.0.100" is not an address with a prefix, such as 10.77.0.100/24`,
				`f.yaml:7: wait: 10 is not a duration, such as 10s`,
				`f.yaml:8: list: "a" is not a list (- ONE, a line each; or [ONE, TWO])`,
				`f.yaml:9: name: a list is not a text`,
				`f.yaml:10: sub2: no such field`,
				`f.yaml:11: on: "maybe" is not true or false`,
			}, "\n")},
		{"no mapping", "- a\n", "f.yaml:1: a list is not a mapping"},
		{"twice", "name: a\nname: b\n", `mapping key "name" already defined`},
		{"by an alias", "sub: &s {n: x}\nmore: {a: *s, b: {<<: *s}}\n", `f.yaml:1: sub.n: "x" is not a whole number that fits here`},
		{"merged", "sub: &s {n: 1}\nmore: {a: *s, b: {<<: *s, n: 2}}\n", ""},
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

// What is right beside an error is there, and so are the values of all kinds.
func TestDecodeValues(t *testing.T) {
	text := "name: 5\nsub: &s {n: 1}\ngateway: 10.77.0.254\nown: foo\nvips: [10.77.0.100/24]\nwait: 10s\non: yes\nmore: {a: *s}\nany: {x: [1], y: {z: 2}}\nlist:\n"
	on := true
	want := thing{Name: "5", Sub: sub{1}, Gateway: own{netip.MustParseAddr("10.77.0.254")}, VIPs: []netip.Prefix{netip.MustParsePrefix("10.77.0.100/24")},
		Wait: 10 * time.Second, On: &on, More: map[string]sub{"a": {1}}, Any: map[string]any{"x": []any{1}, "y": map[string]any{"z": 2}}}
	var got thing
	_, err := Decode("f.yaml", []byte(text), &got)
	if err == nil || err.Error() != `f.yaml:4: own: "foo" is not an address, such as 10.77.0.1` {
		t.Errorf("got error %v", err)
	}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for field, want := range map[string]bool{"own": true, "own.x": true, "own[0]": true, "ow": false, "owner": false, "name": false} {
		if got := Names(err, field); got != want {
			t.Errorf("%s is named: %v, want %v", field, got, want)
		}
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
	f.Add("sub: &s {n: x}\nmore: &m {a: *s, b: {<<: [*s, *m]}}\nwait: 10\n")
	f.Fuzz(func(t *testing.T, text string) {
		var v thing
		_, err := Decode("f.yaml", []byte(text), &v)
		var fe *FieldError
		if err != nil && !errors.Is(err, ErrEmpty) && !errors.As(err, &fe) {
			t.Fatalf("an error without a place: %v", err)
		}
	})
}
