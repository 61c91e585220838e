package data

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What a folder's place begins with is on the disks before it has its name: a power cut leaves files without content of what was
// only copied.
func TestPlaceIsSynced(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "mysql"), filepath.Join(dir, "live", "mysql")
	if err := os.MkdirAll(from, 0o755); err != nil {
		t.Fatal(err)
	}
	var said []string
	long := func(_ context.Context, argv ...string) error {
		said = append(said, strings.ReplaceAll(strings.Join(argv, " "), dir, ""))
		if argv[0] == "cp" {
			return os.Mkdir(argv[len(argv)-1], 0o755)
		}
		if there(to) {
			t.Errorf("%q comes after the rename", said)
		}
		return nil
	}
	s := &Set{cfg: Config{Tools: Tools{Long: long}, Event: func(string, bool) {}}}
	for i, want := range []bool{true, false} {
		made, err := s.place(t.Context(), "data", from, to)
		if made != want || err != nil {
			t.Errorf("time %d: made %v, %v", i+1, made, err)
		}
	}
	if want := []string{"cp -a -- /mysql /live/mysql.part", "sync -f /live/mysql.part"}; !slices.Equal(said, want) {
		t.Errorf("ran %q, want %q", said, want)
	}
}

// A copy that cannot be synced is not used, and what is half done is done again.
func TestPlaceNotSynced(t *testing.T) {
	dir := t.TempDir()
	to := filepath.Join(dir, "live")
	copies := 0
	s := &Set{cfg: Config{Event: func(string, bool) {}, Tools: Tools{Long: func(_ context.Context, argv ...string) error {
		if argv[0] == "sync" {
			return errors.New("no word of the disk")
		}
		copies++
		return os.Mkdir(argv[len(argv)-1], 0o755) // fails if the last one is still there
	}}}}
	for range 2 {
		if made, err := s.place(t.Context(), "data", dir, to); made || err == nil || !strings.Contains(err.Error(), "no word") {
			t.Errorf("made %v, %v", made, err)
		}
	}
	if there(to) || copies != 2 {
		t.Errorf("%d copies, in place: %v", copies, there(to))
	}
}
