package module

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// readIndex walks an index file the way libkmod does.
func readIndex(data []byte) (entries []entry, err error) {
	be := binary.BigEndian
	if len(data) < 12 || be.Uint32(data) != indexMagic || be.Uint32(data[4:]) != indexVersion {
		return nil, errors.New("no index")
	}
	var walk func(key string, at uint32)
	walk = func(key string, at uint32) {
		p := data[at&0x0fffffff:]
		text := func() string {
			i := bytes.IndexByte(p, 0)
			s := string(p[:i])
			p = p[i+1:]
			return s
		}
		if at&nodePrefix != 0 {
			key += text()
		}
		if at&nodeChildren != 0 {
			first, last := p[0], p[1]
			p = p[2:]
			for c := int(first); c <= int(last); c++ {
				if child := be.Uint32(p); child != 0 {
					defer walk(key+string(rune(c)), child)
				}
				p = p[4:]
			}
		}
		if at&nodeValues != 0 {
			n := be.Uint32(p)
			p = p[4:]
			for range n {
				priority := int(be.Uint32(p))
				p = p[4:]
				entries = append(entries, entry{key, text(), priority})
			}
		}
	}
	walk("", be.Uint32(data[8:]))
	return entries, nil
}

func TestIndexFile(t *testing.T) {
	// "a" → 1 at priority 2, "ab" → 2: the layout by hand, from libkmod-index.c.
	got := writeIndex([]entry{{"a", "1", 2}, {"ab", "2", 0}})
	want := "\xb0\x07\xf4\x57\x00\x02\x00\x01" + // magic, version
		"\x20\x00\x00\x26" + // root: has children
		"\x00\x00\x00\x01\x00\x00\x00\x002\x00" + // at 0x0c, node "b": one value, priority 0, "2"
		"bb\x40\x00\x00\x0c" + // at 0x16, node "a": children b to b
		"\x00\x00\x00\x01\x00\x00\x00\x021\x00" + // its one value, priority 2, "1"
		"aa\x60\x00\x00\x16" // at 0x26, the root: children a to a
	if diff := gocmp.Diff([]byte(want), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzIndexFile(f *testing.F) {
	f.Add("a 1 2\nab 2 0\nabc 3 1\nab 4 0\n")
	f.Add("pci:v1* x 1\npci:v2* y 2\n z 0\n\x80 w 0\n")
	f.Fuzz(func(t *testing.T, text string) {
		var entries, want []entry
		for line := range strings.Lines(text) {
			var e entry
			e.key, e.value, _ = strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			e.priority = len(line) % 7
			entries = append(entries, e)
			if ascii(e.key) && ascii(e.value) {
				want = append(want, e)
			}
		}
		got, err := readIndex(writeIndex(entries))
		if err != nil {
			t.Fatal(err)
		}
		order := func(a, b entry) int {
			return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.priority, b.priority), cmp.Compare(a.value, b.value))
		}
		slices.SortFunc(got, order)
		slices.SortFunc(want, order)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	})
}

func TestNormalAlias(t *testing.T) {
	for _, tt := range []struct {
		in, want string
		ok       bool
	}{
		{"fs-ext4", "fs_ext4", true},
		{"a[a-f]-x", "a[a-f]_x", true},
		{"a]", "", false},
		{"a[b-c", "", false},
	} {
		if got, ok := normalAlias(tt.in); got != tt.want || ok != tt.ok {
			t.Errorf("%q: %q, %v", tt.in, got, ok)
		}
	}
}
