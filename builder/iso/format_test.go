package iso

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMangle(t *testing.T) {
	tests := []struct {
		name string
		dir  bool
		want string
	}{
		{"pack", false, "PACK.;1"},
		{"vmlinuz-6.12", false, "VMLINUZ_6.12;1"},
		{"manifest.json", false, "MANIFEST.JSO;1"},
		{"a.tar.zst", false, "A_TAR.ZST;1"},
		{".hidden", false, "_HIDDEN.;1"},
		{"ümlaut", false, "_MLAUT.;1"},
		{"some.d", true, "SOME_D"},
		{strings.Repeat("x", 40) + ".bin", false, strings.Repeat("X", 27) + ".BIN;1"},
	}
	for _, tt := range tests {
		if got := mangle(tt.name, tt.dir).identifier(tt.dir); got != tt.want {
			t.Errorf("mangle(%q) = %q, want %q", tt.name, got, tt.want)
		}
	}
}

// Names that mangle alike stay apart, and sort as ECMA-119 9.3 wants.
func TestIdentify(t *testing.T) {
	root := &node{dir: true}
	for _, name := range []string{"a.b", "A.B", "a-b", "a_b", "ab", "a", "a.a"} {
		root.children = append(root.children, &node{name: name})
	}
	root.identify()
	var got []string
	for _, c := range root.children {
		got = append(got, c.name+" "+c.iso.identifier(false))
	}
	want := []string{"a A.;1", "a.a A.A;1", "A.B A.B;1", "ab AB.;1", "a.b A_1.B;1", "a-b A_B.;1", "a_b A_B_1.;1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("identifiers (-want +got):\n%s", diff)
	}
}

func TestDirectoryRecord(t *testing.T) {
	got := record("PACK.;1", 0, extent{lba: 0x11223344, size: 0x1000}, epoch, []byte("SUSP!"))
	want := strings.Join([]string{
		"2e00",                     // length 46, no extended attributes
		"44332211" + "11223344",    // sector in both byte orders
		"00100000" + "00001000",    // size
		"7d030405060800",           // 2025-03-04 05:06:08 UTC
		"000000" + "0100" + "0001", // flags, no interleave, volume 1
		"07" + hex.EncodeToString([]byte("PACK.;1")),
		hex.EncodeToString([]byte("SUSP!")) + "00", // padded to even
	}, "")
	if diff := cmp.Diff(want, hex.EncodeToString(got)); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
}

func TestBootCatalog(t *testing.T) {
	b := bootCatalog([]bootImage{{platformBIOS, 0x1b, 4}, {platformUEFI, 0x200, 0}})
	var sum uint16
	for i := 0; i < 32; i += 2 {
		sum += binary.LittleEndian.Uint16(b[i:])
	}
	if sum != 0 {
		t.Errorf("words of the validation entry add up to %#x", sum)
	}
	want := strings.Join([]string{
		"88000000" + "0000" + "0400" + "1b000000" + strings.Repeat("00", 20),
		"91ef0100" + strings.Repeat("00", 28),
		"88000000" + "0000" + "0000" + "00020000" + strings.Repeat("00", 20),
		strings.Repeat("00", 32),
	}, "")
	if diff := cmp.Diff(want, hex.EncodeToString(b[32:160])); diff != "" {
		t.Errorf("catalog (-want +got):\n%s", diff)
	}
}

func TestESPSectors(t *testing.T) {
	for size, want := range map[int64]uint16{9 << 20: 18432, 31 << 20: 63488, 32 << 20: 0, 60 << 20: 0} {
		if got := espSectors(size); got != want {
			t.Errorf("espSectors(%d) = %d, want %d", size, got, want)
		}
	}
}

func TestBootInfo(t *testing.T) {
	in := bytes.Repeat([]byte{0xaa}, 64)
	in = append(in, 1, 0, 0, 0, 2, 0, 0, 0x80, 3, 0, 0, 0x80, 4) // and a last word cut short
	got := withBootInfo(in, 0x1b)
	want := strings.Repeat("aa", 8) + "10000000" + "1b000000" + "4d000000" + "0a000000" + strings.Repeat("00", 40) + "0100000002000080030000" + "8004"
	if diff := cmp.Diff(want, hex.EncodeToString(got)); diff != "" {
		t.Errorf("isolinux.bin (-want +got):\n%s", diff)
	}
	if in[8] != 0xaa {
		t.Error("the caller's bytes were changed")
	}
}

func TestBootSector(t *testing.T) {
	b := bootSector(bytes.Repeat([]byte{0xcc}, 432), 0x1b, 1<<20, 0xdeadbeef)
	want := strings.Join([]string{
		strings.Repeat("cc", 432),
		"6c00000000000000" + "efbeadde" + "0000", // isolinux.bin at sector 4*0x1b
		"00" + "000200" + "ee" + "ffffff" + "01000000" + "ff070000",
		"80" + "000100" + "00" + "000100" + "00000000" + "01000000",
		strings.Repeat("00", 32) + "55aa",
	}, "")
	if diff := cmp.Diff(want, hex.EncodeToString(b)); diff != "" {
		t.Errorf("boot sector (-want +got):\n%s", diff)
	}
}

func TestGUIDs(t *testing.T) {
	a, b := identity{1}, identity{2}
	if a.guid("disk") == b.guid("disk") || a.guid("disk") == a.guid("esp") {
		t.Error("two things have one GUID")
	}
	if got, want := a.guid("disk")[14], byte('8'); got != want {
		t.Errorf("GUID %s has version %c", a.guid("disk"), got)
	}
}
