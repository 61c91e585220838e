package vmtest

import (
	"bytes"
	"os"
	"syscall"
	"testing"

	"masthead/vmtest/prerequisite"
)

func TestMakeBlank(t *testing.T) {
	path := t.TempDir() + "/disk0.raw"
	if err := makeBlank(t.Context(), path, DiskConfig{Size: GiB}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() != int64(GiB) || info.Sys().(*syscall.Stat_t).Blocks != 0 {
		t.Errorf("%d bytes in %d blocks, want 1 GiB in none", info.Size(), info.Sys().(*syscall.Stat_t).Blocks)
	}
	os.WriteFile(path, []byte("kept"), 0o644)
	if err := makeBlank(t.Context(), path, DiskConfig{Size: GiB}); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); string(got) != "kept" {
		t.Error("a disk from before was made anew")
	}
}

func TestMakeBlankWithLabel(t *testing.T) {
	if _, err := findMkfs(); err != nil {
		prerequisite.Missing(t, "mkfs.ext4: %v", err)
	}
	path := t.TempDir() + "/disk0.raw"
	if err := makeBlank(t.Context(), path, DiskConfig{Size: 64 * MiB, Label: "masthead-state"}); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	// struct ext4_super_block: s_magic at 0x38, s_volume_name at 0x78.
	super := make([]byte, 1024)
	if _, err := file.ReadAt(super, 1024); err != nil {
		t.Fatal(err)
	}
	if label := string(bytes.TrimRight(super[0x78:0x88], "\x00")); label != "masthead-state" || super[0x38] != 0x53 || super[0x39] != 0xef {
		t.Errorf("magic %x, label %q", super[0x38:0x3a], label)
	}
}
