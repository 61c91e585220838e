package chunks

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"masthead/images"
)

// TestLRU compares with a plain list under random use.
func TestLRU(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bound := rapid.Int64Range(0, 50).Draw(t, "bound")
		l := newLRU(bound)
		type kept struct {
			d images.Digest
			n int64
		}
		var model []kept // the last used first
		total := func() (n int64) {
			for _, k := range model {
				n += k.n
			}
			return n
		}
		touch := func(d images.Digest) bool {
			for i, k := range model {
				if k.d == d {
					model = append([]kept{k}, append(append([]kept(nil), model[:i]...), model[i+1:]...)...)
					return true
				}
			}
			return false
		}
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			n := rapid.Int64Range(1, 20).Draw(t, "size")
			d := images.Digest(fmt.Sprint(n)) // one size for each digest
			switch rapid.IntRange(0, 2).Draw(t, "op") {
			case 0:
				l.add(d, make([]byte, n))
				if !touch(d) && n <= bound {
					for total()+n > bound {
						model = model[:len(model)-1]
					}
					model = append([]kept{{d, n}}, model...)
				}
			case 1:
				want := touch(d) || total()+n <= bound
				if want && !touch(d) {
					model = append([]kept{{d, n}}, model...)
				}
				if got := l.addIfRoom(d, make([]byte, n)); got != want {
					t.Fatalf("addIfRoom %s: %t, want %t", d, got, want)
				}
			case 2:
				if got, want := l.get(d) != nil, touch(d); got != want {
					t.Fatalf("get %s: %t, want %t", d, got, want)
				}
			}
			if l.bytes() != total() || l.bytes() > bound || l.room() != bound-total() || len(l.items) != len(model) {
				t.Fatalf("%d bytes in %d, want %d in %d, bound %d", l.bytes(), len(l.items), total(), len(model), bound)
			}
			for _, k := range model {
				if !l.has(k.d) {
					t.Fatalf("%s is gone", k.d)
				}
			}
		}
	})
}

func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gate
		start := time.Now()
		pass := func() time.Duration {
			if err := g.wait(t.Context(), time.Second); err != nil {
				t.Error(err)
			}
			return time.Since(start)
		}
		if d := pass(); d != 0 {
			t.Errorf("nothing ever happened: passed after %v", d)
		}
		g.enter()
		time.AfterFunc(time.Second, func() { g.enter(); g.leave() }) // still busy
		time.AfterFunc(2*time.Second, g.leave)                       // idle
		time.AfterFunc(2500*time.Millisecond, g.enter)               // not quiet for long enough
		time.AfterFunc(4*time.Second, g.leave)                       // quiet from here
		if d := pass(); d != 5*time.Second {
			t.Errorf("passed after %v, want 5s", d)
		}
	})
}

func TestDir(t *testing.T) {
	path := t.TempDir()
	one, two := []byte("one chunk"), []byte("another chunk")
	d, err := OpenDir(path, int64(len(one)+len(two)-1))
	if err != nil {
		t.Fatal(err)
	}
	if d.Get(chunkOf(one)) != nil {
		t.Error("an empty directory gave a chunk")
	}
	d.Put(chunkOf(one), one)
	d.Put(chunkOf(two), two) // no room
	if got := d.Get(chunkOf(one)); string(got) != string(one) {
		t.Errorf("got %q", got)
	}
	if d.Get(chunkOf(two)) != nil {
		t.Error("the bound did not hold")
	}
	d.Close()

	// Opened again, it knows what it holds; what was damaged meanwhile is removed.
	if d, err = OpenDir(path, int64(len(one)+len(two)-1)); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if d.size != int64(len(one)) {
		t.Errorf("counts %d bytes, want %d", d.size, len(one))
	}
	file := filepath.Join(path, chunkOf(one).Digest.Hex())
	if err := os.WriteFile(file, []byte("one chunX"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := d.Get(chunkOf(one)); got != nil {
		t.Errorf("a damaged file gave %q", got)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Error("the damaged file is still there")
	}
	d.Put(chunkOf(two), two)
	if got := d.Get(chunkOf(two)); string(got) != string(two) {
		t.Errorf("after the damaged one went: got %q", got)
	}
}

// TestKeeper reads through a directory: the second Reader needs no source.
func TestKeeper(t *testing.T) {
	data := content(256 << 10)
	root, held := seal(t, data, 16<<10)
	dir, err := OpenDir(t.TempDir(), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	a := &fake{name: "a", answer: held.Fetch}
	s := NewSources([]Source{a}, nil)
	defer s.Close()
	for range 2 {
		r := newReader(t, ReaderConfig{Root: root, Sources: s, Cache: 1 << 20, Keeper: dir})
		if got := read(t, r, 0, root.Size); string(got) != string(data) {
			t.Error("wrong bytes")
		}
		a.becomes(fails)
	}
}
