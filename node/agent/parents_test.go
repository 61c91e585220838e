package agent

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"masthead/node/wire"
)

func TestJitter(t *testing.T) {
	for _, tc := range []struct {
		random float64
		want   time.Duration
	}{{0, 9 * time.Second}, {0.5, 10 * time.Second}, {0.75, 10500 * time.Millisecond}} {
		if got := jitter(10*time.Second, tc.random); got != tc.want {
			t.Errorf("jitter(10s, %v) = %v, want %v", tc.random, got, tc.want)
		}
	}
	if got := jitter(0, 0.1); got != 0 {
		t.Errorf("jitter(0) = %v", got)
	}
}

func TestAdopt(t *testing.T) {
	moved := wire.Head{Name: "h2", URL: "https://10.77.0.22"}
	list := func(h ...wire.Head) []wire.Head { return h }
	for _, tc := range []struct {
		name                     string
		heads, known, list, want []wire.Head
	}{
		{"first list", nil, nil, list(h1, h2), list(h1, h2)},
		{"a third behind them", list(h1, h2), list(h1, h2), list(h1, h2, h3), list(h1, h2, h3)},
		{"its parent is the second: it stays", list(h2, h1), list(h1, h2), list(h1, h2, h3), list(h2, h3, h1)},
		{"another is the first: it goes", list(h1, h2), list(h1, h2), list(h2, h1), list(h2, h1)},
		{"its parent is no head any more", list(h2, h1), list(h1, h2), list(h1, h3), list(h1, h3)},
		{"its parent has another address", list(h2, h1), list(h1, h2), list(h1, moved), list(moved, h1)},
	} {
		if d := cmp.Diff(tc.want, adopt(tc.heads, tc.known, tc.list)); d != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, d)
		}
	}
}

// Whoever does not answer, a machine tries every head before it tries one again, and forgets none.
func TestRotationTriesAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 7).Draw(t, "heads")
		var heads []wire.Head
		for i := range n {
			heads = append(heads, wire.Head{Name: string(rune('a' + i))})
		}
		start := slices.Clone(heads)
		seen := map[string]bool{}
		for range n {
			seen[heads[0].Name] = true
			heads = rotate(heads)
		}
		if len(seen) != n || !slices.Equal(heads, start) {
			t.Fatalf("%d heads: tried %v, then %v", n, seen, heads)
		}
	})
}

func TestHostsFile(t *testing.T) {
	p1, p2 := netip.MustParseAddr("10.77.0.1"), netip.MustParseAddr("10.77.0.2")
	hosts := []wire.Host{{Name: "h1", Address: p1}, {Name: "n01", Address: p2}, {Name: "n02", Address: netip.MustParseAddr("fd00::2")}}
	block := HostsBlock("n01", p1, hosts)
	want := hostsBegin + "\n10.77.0.1\tparent-head-node\n10.77.0.1\th1\nfd00::2\tn02\n" + hostsEnd + "\n"
	if block != want {
		t.Errorf("block:\n%s\nwant:\n%s", block, want)
	}
	for _, tc := range []struct{ name, text, block, parent string }{
		{"empty", "", block, hostsBegin + "\n10.77.0.2\tparent-head-node\n" + hostsEnd + "\n"},
		{"foreign, without an end of line", "127.0.0.1 localhost", "127.0.0.1 localhost\n" + block,
			"127.0.0.1 localhost\n" + hostsBegin + "\n10.77.0.2\tparent-head-node\n" + hostsEnd + "\n"},
		{"between others", "a\n" + block + "b\n", "a\n" + block + "b\n",
			"a\n" + hostsBegin + "\n10.77.0.2\tparent-head-node\n10.77.0.1\th1\nfd00::2\tn02\n" + hostsEnd + "\nb\n"},
		{"the end was lost", "a\n" + hostsBegin + "\n1.1.1.1\tx\n", "a\n" + block,
			"a\n" + hostsBegin + "\n10.77.0.2\tparent-head-node\n1.1.1.1\tx\n" + hostsEnd + "\n"},
	} {
		if got := withBlock(tc.text, block); got != tc.block {
			t.Errorf("%s: with the block:\n%q\nwant:\n%q", tc.name, got, tc.block)
		}
		if got := withParent(tc.text, p2); got != tc.parent {
			t.Errorf("%s: with another parent:\n%q\nwant:\n%q", tc.name, got, tc.parent)
		}
	}
}

// Whatever a hosts file holds, what is not ours stays, and writing the same again changes nothing.
func FuzzHosts(f *testing.F) {
	p := netip.MustParseAddr("10.77.0.1")
	f.Add("127.0.0.1 localhost\n", "x\n")
	f.Add(HostsBlock("a", p, nil), "")
	f.Fuzz(func(t *testing.T, above, below string) {
		block := HostsBlock("n", p, []wire.Host{{Name: "h", Address: p}})
		text := withBlock(above+"\n"+block+below, block)
		if again := withBlock(text, block); again != text {
			t.Fatalf("again:\n%q\n%q", again, text)
		}
		one := withParent(text, p)
		if two := withParent(one, p); two != one {
			t.Fatalf("parent again:\n%q\n%q", two, one)
		}
		if before, _, _ := splitHosts(above); len(text) < len(before) || text[:len(before)] != before {
			t.Fatalf("%q lost what was above: %q", above, text)
		}
	})
}

func TestWithKeys(t *testing.T) {
	for _, tc := range []struct {
		text        string
		before, now []string
		want        string
	}{
		{"", nil, []string{"a"}, "a\n"},
		{"image\na\nhand\n", []string{"a"}, []string{"b"}, "image\nhand\nb\n"},
		{"a\n", []string{"a"}, nil, ""},
		{"a\nb", []string{"a"}, []string{"a", "b"}, "a\nb\n"},
	} {
		if got := withKeys(tc.text, tc.before, tc.now); got != tc.want {
			t.Errorf("withKeys(%q, %v, %v) = %q, want %q", tc.text, tc.before, tc.now, got, tc.want)
		}
	}
}
