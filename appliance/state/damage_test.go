package state

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fill makes a state of several bbolt pages and gives its bytes and what is in it.
func fill(tb testing.TB, dir string, n int) ([]byte, map[string]string) {
	tb.Helper()
	d, err := Open(Config{Dir: dir, Head: "head-1"})
	if err != nil {
		tb.Fatal(err)
	}
	want := map[string]string{}
	for round := range 2 { // twice, so that there are pages no longer in use
		var ops []Op
		for i := range n {
			op, err := Put(KindNode, fmt.Sprintf("n%04d", i), map[string]any{"round": round, "text": strings.Repeat("x", 100)})
			if err != nil {
				tb.Fatal(err)
			}
			ops = append(ops, op)
		}
		if _, err := d.Apply(tb.Context(), admin, ops...); err != nil {
			tb.Fatal(err)
		}
	}
	for k, v := range values(d, KindNode, "") {
		want[k] = v
	}
	if err := d.Close(); err != nil {
		tb.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, fileName))
	if err != nil {
		tb.Fatal(err)
	}
	return data, want
}

func TestDamage(t *testing.T) {
	dir := t.TempDir()
	whole, want := fill(t, dir, 300)
	path := filepath.Join(dir, fileName)
	next := 0
	for _, tc := range []struct {
		name  string
		harm  func([]byte) []byte
		least int // of the 300 records that must still be there
	}{
		{"empty", func(b []byte) []byte { return nil }, 0},
		{"text", func(b []byte) []byte { return []byte("hello") }, 0},
		{"zeros", func(b []byte) []byte { clear(b); return b }, 0},
		{"both metas", func(b []byte) []byte { clear(b[:8192]); return b }, 300},
		{"half", func(b []byte) []byte { return b[:len(b)/2] }, 1},
		{"one page", func(b []byte) []byte { clear(b[len(b)-4096:]); return b }, 200},
		{"root page", func(b []byte) []byte { f, _ := openBolt(b); clear(b[f.root*4096:][:4096]); return b }, 300},
	} {
		if err := os.WriteFile(path, tc.harm(append([]byte(nil), whole...)), 0o600); err != nil {
			t.Fatal(err)
		}
		d := open(t, dir)
		damage := d.Damage()
		if tc.name == "one page" && damage == nil {
			d.Close() // the last page was not in use; nothing was harmed
			continue
		}
		moved := fmt.Sprintf("%s.old.%02d", path, next)
		next++
		if damage == nil || damage.Moved != moved {
			t.Errorf("%s: Damage() = %v, want one that names %s", tc.name, damage, moved)
			d.Close()
			continue
		}
		if _, err := os.Stat(moved); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		got := values(d, KindNode, "")
		if len(got) < tc.least {
			t.Errorf("%s: %d records survived, want %d (%v)", tc.name, len(got), tc.least, damage)
		}
		if tc.least == 300 {
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s", tc.name, diff)
			}
		}
		apply(t, d, put(t, KindNode, "after", 1))
		d.Close()
		if again := open(t, dir); again.Damage() != nil || values(again, KindNode, "after")["after"] != "1" {
			t.Errorf("%s: it does not stay repaired: %v", tc.name, again.Damage())
		} else {
			again.Close()
		}
	}
}

// Any flipped bit is either found or harmless: never a panic, never another value.
func TestFlippedBits(t *testing.T) {
	whole, want := fill(t, t.TempDir(), 20)
	clean, err := readContents(whole)
	if err != nil {
		t.Fatal(err)
	}
	wantAll := fmt.Sprint(clean.records)
	found := 0
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		bit := rng.IntN(len(whole) * 8)
		whole[bit/8] ^= 1 << (bit % 8)
		c, err := readContents(whole)
		if err == nil && fmt.Sprint(c.records) != wantAll {
			// The older meta page may be what is left; then it is an older state, whole. Every value must be one that
			// was written.
			for _, r := range c.records {
				if r.Key.Kind == KindNode && !strings.Contains(string(r.Value), `"round":0`) && want[r.Key.Name] != string(r.Value) {
					t.Fatalf("bit %d of byte %d: %s became %s", bit%8, bit/8, r.Key, r.Value)
				}
			}
		}
		if err != nil {
			found++
		}
		salvage(whole)
		whole[bit/8] ^= 1 << (bit % 8)
	}
	t.Logf("%d of 500 flips were found, the others hit what is not in use", found)
	if found == 0 {
		t.Error("no flip was found")
	}
}

func FuzzBoltFile(f *testing.F) {
	whole, _ := fill(f, f.TempDir(), 3)
	f.Add(whole, 0, byte(0))
	f.Add(whole, 4096+16, byte(1))
	f.Add(whole[:8192], 20, byte(255))
	f.Fuzz(func(t *testing.T, data []byte, at int, mask byte) {
		if at >= 0 && at < len(data) {
			data = append([]byte(nil), data...)
			data[at] ^= mask
		}
		readContents(data)
		for _, r := range salvage(data) {
			if _, err := DecodeRecord(r.Key, r.Encode()); err != nil {
				t.Fatalf("salvaged %v: %v", r, err)
			}
		}
	})
}

func TestNewerFormatIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	open(t, dir).Close()
	path := filepath.Join(dir, fileName)
	b, err := openBoltDB(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := setFormat(b, "3"); err != nil {
		t.Fatal(err)
	}
	b.Close()
	if _, err := Open(Config{Dir: dir, Head: "head-1"}); err == nil || !strings.Contains(err.Error(), `format "3"`) {
		t.Errorf("Open of a newer format: %v", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("it was moved: %v", err)
	}
}
