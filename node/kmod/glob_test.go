package kmod

import (
	"path"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		pattern, name string
		want          bool
	}{
		{"pci:v00008086d000010D3sv*sd*bc*sc*i*", "pci:v00008086d000010D3sv00001AF4sd00001100bc02sc00i00", true},
		{"pci:v00008086d000010D3sv*sd*bc*sc*i*", "pci:v00008086d000010D4sv00001AF4sd00001100bc02sc00i00", false},
		{"pci:v*d*sv*sd*bc01sc06i01*", "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01", true},
		{"usb:v*p*d*dc*dsc*dp*ic08isc06ip50in*", "usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00", true},
		{"virtio:d00000001v*", "virtio:d00000001v00001AF4", true},
		{"dmi*:svn*Dell*:pn*", "dmi:bvnX:svnDell Inc.:pnPowerEdge R640/0:", true}, // a star matches a slash
		{"acpi*:PNP0C0[A-C]:*", "acpi:PNP0C0B:", true},
		{"acpi*:PNP0C0[A-C]:*", "acpi:PNP0C0D:", false},
		{"a[!0-9]b", "axb", true},
		{"a[!0-9]b", "a5b", false},
		{"a[]]b", "a]b", true},
		{"a[b", "a[b", true}, // an open bracket is itself
		{"a?c", "abc", true},
		{"a?c", "ac", false},
		{`a\*c`, "a*c", true},
		{`a\*c`, "abc", false},
		{"*", "", true},
		{"**a*", "bab", true},
		{"", "", true},
		{"", "a", false},
		{"abc", "ab", false},
		{"*a*b*c", "xaxxbxbxc", true},
	} {
		if got := match(tt.pattern, tt.name); got != tt.want {
			t.Errorf("match(%q, %q) = %v, want %v", tt.pattern, tt.name, got, tt.want)
		}
	}
}

// A pattern of many stars must not take exponential time.
func TestMatchManyStars(t *testing.T) {
	if match(strings.Repeat("a*", 200)+"b", strings.Repeat("a", 5000)) {
		t.Error("matched")
	}
}

func TestNormal(t *testing.T) {
	for in, want := range map[string]string{
		"a-b": "a_b", "a[a-f]-b": "a[a-f]_b", "fs-ext4": "fs_ext4", "a[b-c": "a[b_c", "": "",
	} {
		if got := normal(in); got != want {
			t.Errorf("normal(%q) = %q, want %q", in, got, want)
		}
	}
}

// FuzzMatch compares with path.Match where the two mean the same: without slashes, sets and escapes.
func FuzzMatch(f *testing.F) {
	f.Add("pci:v*d*sv?", "pci:v1d2sv3")
	f.Add("[a-c]*", "b]")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(pattern) > 100 || len(name) > 1000 {
			return
		}
		got := match(pattern, name)
		if strings.ContainsAny(pattern, `/[]\`) || strings.Contains(name, "/") || !ascii(pattern+name) {
			return
		}
		want, err := path.Match(pattern, name)
		if err == nil && got != want {
			t.Errorf("match(%q, %q) = %v, want %v", pattern, name, got, want)
		}
	})
}

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > 127 })
}
