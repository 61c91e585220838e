package node

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"masthead/vmtest/prerequisite"
)

func TestJoinAddress(t *testing.T) {
	for cmdline, want := range map[string]struct {
		address string
		wanted  bool
	}{
		"quiet masthead.role=head":                      {"", false},
		"masthead.join":                                 {"", true},
		"masthead.join=10.77.0.1 quiet":                 {"10.77.0.1", true},
		`masthead.join="10.77.0.1:8443"`:                {"10.77.0.1:8443", true},
		"masthead.join=10.0.0.1 masthead.join=10.0.0.2": {"10.0.0.2", true},
		"xmasthead.join=10.0.0.1 masthead.joined=x":     {"", false},
	} {
		if address, wanted := joinAddress(cmdline); address != want.address || wanted != want.wanted {
			t.Errorf("%q: %q, %t; want %+v", cmdline, address, wanted, want)
		}
	}
}

func TestReadJoinToken(t *testing.T) {
	for text, want := range map[string]string{"mhj_abc\n": "mhj_abc", " mhj_abc\r\n": "mhj_abc", "": "", "\n": ""} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, joinTokenFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := readWhole(filepath.Join(dir, joinTokenFile), maxJoinToken); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
}

// Foreign file systems are told from FAT by foreign tools' output.
func TestIsFAT(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, size int64) string {
		path := filepath.Join(dir, name)
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := f.Truncate(size); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if isFAT(file("empty", 1<<20)) || isFAT(file("short", 100)) || isFAT(filepath.Join(dir, "none")) {
		t.Error("nothing is taken for FAT")
	}
	mkfs := prerequisite.Program(t, "mkfs.vfat")
	for bits, size := range map[string]int64{"12": 2 << 20, "16": 32 << 20, "32": 64 << 20} {
		path := file("fat"+bits, size)
		if out, err := exec.Command(mkfs, "-F", bits, path).CombinedOutput(); err != nil {
			t.Fatalf("mkfs.vfat: %v\n%s", err, out)
		}
		if !isFAT(path) {
			t.Errorf("FAT%s is not found", bits)
		}
	}
}

func TestNoTokenIsSaid(t *testing.T) {
	sys := t.TempDir()
	if err := os.MkdirAll(filepath.Join(sys, "class/block"), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if token, device, err := findJoinToken(ctx, sys, t.TempDir()); err == nil || !strings.Contains(err.Error(), joinTokenFile) {
		t.Errorf("%s on %s, %v", token, device, err)
	}
}
