package nbd

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestParseDevice(t *testing.T) {
	for _, s := range []string{"/dev/nbd12", "nbd12"} {
		if d, err := ParseDevice(s); err != nil || d != 12 || d.Path() != "/dev/nbd12" {
			t.Errorf("%s: got %v, %v", s, d, err)
		}
	}
	for _, s := range []string{"", "/dev/sda", "nbd", "nbd-1", "12", "/dev/nbd1p1"} {
		if d, err := ParseDevice(s); err == nil {
			t.Errorf("%q: got %v, want an error", s, d)
		}
	}
}

// TestSocketsAttribute compares with what nbd-client sends for descriptor 5: lengths and types in host order, here
// little endian.
func TestSocketsAttribute(t *testing.T) {
	got := hex.EncodeToString(sockets(5).Serialize())
	want := "1000" + "0780" + // SOCKETS, nested
		"0c00" + "0180" + // SOCK_ITEM, nested
		"0800" + "0100" + "05000000" // SOCK_FD
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestParseIndex(t *testing.T) {
	// A generic netlink header (command 1, version 1), then INDEX = 3.
	d, err := parseIndex([][]byte{{1, 1, 0, 0, 8, 0, 1, 0, 3, 0, 0, 0}})
	if err != nil || d != 3 {
		t.Errorf("got %v, %v, want 3", d, err)
	}
	for name, answer := range map[string][][]byte{
		"nothing": nil, "short": {{1}}, "no attribute": {{1, 1, 0, 0}}, "another one": {{1, 1, 0, 0, 8, 0, 2, 0, 3, 0, 0, 0}},
	} {
		if d, err := parseIndex(answer); err == nil {
			t.Errorf("%s: got %v, want an error", name, d)
		}
	}
}

func TestTune(t *testing.T) {
	sys := t.TempDir()
	queue := filepath.Join(sys, "block/nbd1/queue")
	if err := os.MkdirAll(queue, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"max_sectors_kb", "read_ahead_kb", "io_timeout"} {
		if err := os.WriteFile(filepath.Join(queue, f), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := Device(1).Tune(sys, Tuning{ReadAhead: 1024, Remind: 90 * time.Second}); err != nil {
		t.Fatal(err)
	}
	for f, want := range map[string]string{"max_sectors_kb": "", "read_ahead_kb": "1024", "io_timeout": "90000"} {
		if got, err := os.ReadFile(filepath.Join(queue, f)); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v, want %q", f, got, err, want)
		}
	}
	if err := Device(2).Tune(sys, DefaultTuning); err == nil {
		t.Error("a device that is not there was tuned")
	}
}
