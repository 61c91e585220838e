package disk

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"testing"

	"masthead/vmtest/prerequisite"

	"github.com/google/go-cmp/cmp"
)

func TestEnvRoundTrip(t *testing.T) {
	for _, e := range []Env{{}, {Slot: SlotA}, {Slot: SlotB, Try: SlotA, Tried: SlotB}} {
		got, err := ParseEnv(e.Block())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(e, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestParseEnv(t *testing.T) {
	block := func(lines string) []byte {
		b := bytes.Repeat([]byte{'#'}, envSize)
		copy(b, envHeader+lines)
		return b
	}
	tests := []struct {
		name  string
		block []byte
		want  Env
		err   bool
	}{
		{"of others", block("saved_entry=x\nslot=b\n"), Env{Slot: SlotB}, false},
		{"as GRUB clears it", block("slot=a\ntry=\ntried=b\n"), Env{Slot: SlotA, Tried: SlotB}, false},
		{"bad slot", block("slot=c\n"), Env{}, true},
		{"short", block("slot=a\n")[:1023], Env{}, true},
		{"no header", make([]byte, envSize), Env{}, true},
	}
	for _, tt := range tests {
		got, err := ParseEnv(tt.block)
		if (err != nil) != tt.err {
			t.Errorf("%s: error %v", tt.name, err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" && !tt.err {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// GRUB's own program reads what is written, and writes what is read.
func TestEnvForeign(t *testing.T) {
	edit := prerequisite.Program(t, "grub-editenv")
	file := filepath.Join(t.TempDir(), "grubenv")
	if err := WriteEnv(file, Env{Slot: SlotA, Try: SlotB}); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(edit, file, "list").CombinedOutput()
	if err != nil || string(out) != "slot=a\ntry=b\ntried=\n" {
		t.Errorf("grub-editenv list: %v\n%s", err, out)
	}
	if out, err := exec.Command(edit, file, "set", "try=", "tried=b").CombinedOutput(); err != nil {
		t.Fatalf("grub-editenv set: %v\n%s", err, out)
	}
	got, err := ReadEnv(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Env{Slot: SlotA, Tried: SlotB}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzParseEnv(f *testing.F) {
	f.Add(Env{Slot: SlotA, Try: SlotB}.Block())
	f.Fuzz(func(t *testing.T, block []byte) {
		e, err := ParseEnv(block)
		if err != nil {
			return
		}
		if got, err := ParseEnv(e.Block()); err != nil || got != e {
			t.Errorf("%+v becomes %+v, %v", e, got, err)
		}
	})
}
