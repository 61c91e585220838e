package prerequisite

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// heard is a test that ends as testing.T does, and keeps what it said.
type heard struct{ said string }

func (h *heard) Helper() {}
func (h *heard) Fatalf(format string, args ...any) {
	h.said = "failed: " + fmt.Sprintf(format, args...)
	runtime.Goexit()
}
func (h *heard) Skipf(format string, args ...any) {
	h.said = "skipped: " + fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// ask is what a test says and has when it asks.
func ask(f func(TB) string) (said, got string) {
	h, done := &heard{}, make(chan struct{})
	go func() {
		defer close(done)
		got = f(h)
	}()
	<-done
	return h.said, got
}

func TestMissing(t *testing.T) {
	dir := t.TempDir()
	there := filepath.Join(dir, "there")
	if err := os.WriteFile(there, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	tests := []struct {
		name      string
		f         func(TB) string
		said, got string // said without how it ends; empty: nothing
	}{
		{"a program", func(t TB) string { return Program(t, "there") }, "", there},
		{"no program", func(t TB) string { return Program(t, "nosuch") }, "needs program nosuch", ""},
		{"programs", func(t TB) string { Programs(t, "there"); return "on" }, "", "on"},
		{"a program of several", func(t TB) string { Programs(t, "there", "nosuch"); return "on" }, "needs program nosuch", ""},
		{"a feature", func(t TB) string { Have(t, true, "loop devices"); return "on" }, "", "on"},
		{"no feature", func(t TB) string { Have(t, false, "100 % of it"); return "on" }, "needs 100 % of it", ""},
	}
	peer := func(t TB) string { path, there := Peer(t, "nosuch"); return fmt.Sprint(path, there) }
	for require, how := range map[string]string{"": "skipped: ", "1": "failed: "} {
		t.Setenv(Require, require)
		if said, got := ask(peer); require == "" && (said != "" || got != "false") || require == "1" && said != "failed: needs program nosuch" {
			t.Errorf("a peer that is missing, %s=%q: says %q, gives %q", Require, require, said, got)
		}
		for _, tt := range tests {
			want := tt.said
			if want != "" {
				want = how + want
			}
			if said, got := ask(tt.f); said != want || got != tt.got {
				t.Errorf("%s, %s=%q: says %q, gives %q; want %q and %q", tt.name, Require, require, said, got, want, tt.got)
			}
		}
	}
}

// TestNobodyElseLooks: no test has a way of its own to find out what is missing, and to be skipped where it has to fail.
func TestNobodyElseLooks(t *testing.T) {
	seen := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") || filepath.Base(path) == "prerequisite_test.go" {
			return err
		}
		seen++
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, own := range []string{"exec.LookPath(", Require} {
			if strings.Contains(string(text), own) {
				t.Errorf("%s: %s: package prerequisite does that", path, own)
			}
		}
		return nil
	})
	if err != nil || seen < 100 {
		t.Errorf("%d files: %v", seen, err)
	}
}
