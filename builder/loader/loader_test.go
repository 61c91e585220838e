package loader

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"masthead/vmtest/prerequisite"

	"github.com/google/go-cmp/cmp"
)

// sample returns contents that the check of the named loader accepts.
func sample(name Name) []byte {
	switch name {
	case ISOLINUX:
		b := make([]byte, 4096)
		binary.LittleEndian.PutUint32(b[64:], 0x7078c0fb)
		return b
	case HybridMBR:
		return make([]byte, 432)
	case LDLinux:
		return []byte("\x7fELF module")
	case GRUBBoot:
		b := make([]byte, 512)
		b[510], b[511] = 0x55, 0xaa
		return b
	case Shim, GRUB, Mok, GRUBNet:
		return program(1000)
	default:
		return []byte("MZ " + string(name))
	}
}

// program is the header of a UEFI program whose signatures have that many bytes.
func program(signatures uint32) []byte {
	var b bytes.Buffer
	b.WriteString("MZ")
	b.Write(make([]byte, 0x3a))
	b.WriteString("\x40\x00\x00\x00PE\x00\x00")
	header := pe.OptionalHeader64{Magic: 0x20b, NumberOfRvaAndSizes: 16}
	header.DataDirectory[pe.IMAGE_DIRECTORY_ENTRY_SECURITY].Size = signatures
	_ = binary.Write(&b, binary.LittleEndian, pe.FileHeader{Machine: pe.IMAGE_FILE_MACHINE_AMD64, SizeOfOptionalHeader: uint16(binary.Size(header))})
	_ = binary.Write(&b, binary.LittleEndian, header)
	return b.Bytes()
}

func tree() fstest.MapFS {
	dir := fstest.MapFS{}
	for _, s := range sources() {
		dir[s.paths[0]] = &fstest.MapFile{Data: sample(s.name)}
	}
	return dir
}

func TestFindReadsEveryLoader(t *testing.T) {
	got, err := find(tree(), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Set{}
	for _, s := range sources() {
		want[s.name] = sample(s.name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("loaders (-want +got):\n%s", diff)
	}
}

func TestFindReadsOnlyWhatIsWanted(t *testing.T) {
	dir := tree()
	delete(dir, "usr/lib/ipxe/ipxe.efi")
	got, err := find(dir, ForISO())
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(ForISO()) {
		t.Errorf("got %d loaders, want %d", len(got), len(ForISO()))
	}
}

func TestFindTakesLaterCandidates(t *testing.T) {
	dir := tree()
	dir["usr/share/syslinux/isolinux.bin"] = dir["usr/lib/ISOLINUX/isolinux.bin"]
	delete(dir, "usr/lib/ISOLINUX/isolinux.bin")
	if _, err := find(dir, []Name{ISOLINUX}); err != nil {
		t.Error(err)
	}
}

func TestFindReportsAllMissingAtOnce(t *testing.T) {
	dir := tree()
	for _, p := range []string{"usr/lib/ISOLINUX/isolinux.bin", "usr/lib/ISOLINUX/isohdpfx.bin", "usr/lib/systemd/boot/efi/linuxx64.efi.stub"} {
		delete(dir, p)
	}
	_, err := find(dir, nil)
	var missing *MissingError
	if !errors.As(err, &missing) {
		t.Fatalf("got error %v, want a *MissingError", err)
	}
	want := `loader isolinux.bin is missing: no /usr/lib/ISOLINUX/isolinux.bin (Debian package isolinux)
loader isohdpfx.bin is missing: no /usr/lib/ISOLINUX/isohdpfx.bin (Debian package isolinux)
loader linuxx64.efi.stub is missing: no /usr/lib/systemd/boot/efi/linuxx64.efi.stub (Debian package systemd-boot-efi)`
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("error text (-want +got):\n%s", diff)
	}
	var hint interface{ Try() string }
	if !errors.As(err, &hint) {
		t.Fatal("error has no Try()")
	}
	if got, want := hint.Try(), "apt-get install isolinux systemd-boot-efi"; got != want {
		t.Errorf("Try() = %q, want %q", got, want)
	}
}

func TestFindRejectsWrongContents(t *testing.T) {
	tests := []struct {
		path string
		data string
		want string
	}{
		{"usr/lib/ISOLINUX/isolinux.bin", "short", "not an ISOLINUX"},
		{"usr/lib/ISOLINUX/isohdpfx.bin", "short", "has 5 bytes"},
		{"usr/lib/syslinux/modules/bios/ldlinux.c32", "text", "not an ELF module"},
		{"usr/lib/ipxe/undionly.kpxe", "", "is empty"},
		{"usr/lib/ipxe/snponly.efi", "text", "not a UEFI program"},
		{"usr/lib/systemd/boot/efi/linuxx64.efi.stub", "", "not a UEFI program"},
		{"usr/lib/grub/i386-pc/boot.img", "short", "not a boot sector"},
		{"usr/lib/shim/shimx64.efi.signed", "text", "not a UEFI program"},
		{"usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed", string(program(0)), "is not signed"},
	}
	for _, tt := range tests {
		t.Run(filepath.Base(tt.path), func(t *testing.T) {
			dir := tree()
			dir[tt.path] = &fstest.MapFile{Data: []byte(tt.data)}
			_, err := find(dir, nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
}

// A broken loader must not hide that another one is missing.
func TestFindReportsBrokenAndMissingTogether(t *testing.T) {
	dir := tree()
	dir["usr/lib/ipxe/snponly.efi"] = &fstest.MapFile{Data: []byte("text")}
	delete(dir, "usr/lib/ipxe/ipxe.efi")
	_, err := find(dir, nil)
	var missing *MissingError
	if !errors.As(err, &missing) || !strings.Contains(err.Error(), "not a UEFI program") {
		t.Errorf("got error %v, want both faults", err)
	}
}

func TestFindRejectsUnknownName(t *testing.T) {
	if _, err := find(tree(), []Name{"lilo"}); err == nil {
		t.Error("an unknown loader was found")
	}
}

func TestFindFollowsLinksBelowTheRoot(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"usr/lib/ipxe", "boot"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "boot/ipxe.efi"), sample(IPXE), 0o644); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{
		"usr/lib/ipxe/ipxe.efi":      "/boot/ipxe.efi",
		"usr/lib/ipxe/undionly.kpxe": "../../../boot/ipxe.efi",
		"usr/lib/ipxe/snponly.efi":   "/usr/lib/ipxe/snponly.efi",
	} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Find(root, IPXE, Undionly)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Set{IPXE: sample(IPXE), Undionly: sample(IPXE)}, got); diff != "" {
		t.Errorf("loaders (-want +got):\n%s", diff)
	}
	if _, err := Find(root, SNPOnly); err == nil || !strings.Contains(err.Error(), "too many symbolic links") {
		t.Errorf("got error %v for a link to itself", err)
	}
}

func TestFindStaysBelowRoot(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "usr/lib/ipxe"), 0o755); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "ipxe.efi")
	if err := os.WriteFile(outside, sample(IPXE), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(root, "usr/lib/ipxe/ipxe.efi")); err != nil {
		t.Fatal(err)
	}
	if _, err := Find(root, IPXE); err == nil {
		t.Error("followed a link out of the root")
	}
}

func TestFindOnThisMachine(t *testing.T) {
	set, err := Find("/")
	var missing *MissingError
	if errors.As(err, &missing) {
		prerequisite.Missing(t, "the loaders: %v; try: %s", err, missing.Try())
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(set) != len(sources()) {
		t.Errorf("got %d loaders, want %d", len(set), len(sources()))
	}
}
