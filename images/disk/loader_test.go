package disk

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"masthead/vmtest/prerequisite"

	"github.com/google/go-cmp/cmp"
)

// sampleLoader has parts of the right shape.
func sampleLoader() Loader {
	boot := bytes.Repeat([]byte{0xbb}, 512)
	boot[510], boot[511] = 0x55, 0xaa
	core := bytes.Repeat([]byte{0xcc}, 3000)
	copy(core[blockListSecond:], make([]byte, 24))
	binary.LittleEndian.PutUint16(core[blockListAt+8:], 5) // sectors behind the first
	binary.LittleEndian.PutUint16(core[blockListAt+10:], 0x820)
	return Loader{Boot: boot, Core: core, Shim: bytes.Repeat([]byte("shim"), 5000), Grub: bytes.Repeat([]byte("grub"), 70000), MokManager: []byte("mok")}
}

func TestLoaderWrite(t *testing.T) {
	table, err := Plan(200*mib, 512, small(), seeded(5))
	if err != nil {
		t.Fatal(err)
	}
	disk := make(memory, table.Disk)
	for i := range disk { // what an earlier owner of the disk left
		disk[i] = 0x5a
	}
	if err := table.Write(disk); err != nil {
		t.Fatal(err)
	}
	before := bytes.Clone(disk)
	l := sampleLoader()
	if err := l.Write(disk, table, Config{Cmdline: "quiet", Serial: true, Timeout: 2}); err != nil {
		t.Fatal(err)
	}
	bios, system, err := table.ours()
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	if got, want := le.Uint64(disk[kernelSectorAt:]), uint64(2048); got != want {
		t.Errorf("the boot sector loads sector %d, want %d", got, want)
	}
	if diff := cmp.Diff([]byte{0xff, 0xbb, 0x90, 0x90}, []byte(disk[bootDriveAt:bootDriveAt+4])); diff != "" {
		t.Errorf("boot drive and its check (-want +got):\n%s", diff)
	}
	core := disk[bios.First:]
	if got := le.Uint64(core[blockListAt:]); got != 2049 {
		t.Errorf("core.img's blocks begin at sector %d, want 2049", got)
	}
	if !bytes.Equal(core[512:3000], l.Core[512:]) || !bytes.Equal(core[3000:3072], make([]byte, 72)) {
		t.Error("core.img is not whole, or not filled up to its last sector")
	}
	got, err := ReadTable(bytes.NewReader(disk), table.Disk, 512)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(table, got); diff != "" {
		t.Errorf("the table changed (-want +got):\n%s", diff)
	}
	for _, p := range table.Partitions[2:] {
		if !bytes.Equal(disk[p.First:p.First+p.Size], before[p.First:p.First+p.Size]) {
			t.Errorf("%s was written to", p.Name)
		}
	}
	checkESP(t, disk[system.First:system.First+system.Size], l, table)
}

// checkESP has foreign programs read the file system.
func checkESP(t *testing.T, image []byte, l Loader, table Table) {
	t.Helper()
	fsck, mcopy := prerequisite.Program(t, "fsck.vfat"), prerequisite.Program(t, "mcopy")
	file := filepath.Join(t.TempDir(), "esp")
	if err := os.WriteFile(file, image, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(fsck, "-n", "-v", file).CombinedOutput(); err != nil {
		t.Errorf("fsck.vfat: %v\n%s", err, out)
	}
	config, err := Config{Cmdline: "quiet", Serial: true, Timeout: 2}.GRUB(table)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"EFI/BOOT/BOOTX64.EFI": string(l.Shim), "EFI/BOOT/grubx64.efi": string(l.Grub), "EFI/BOOT/mmx64.efi": string(l.MokManager),
		"EFI/debian/grub.cfg": redirect, "grub/grub.cfg": config, "grub/grubenv": string(Env{Slot: SlotA}.Block()),
	} {
		out, err := exec.Command(mcopy, "-n", "-i", file, "::/"+path, "-").Output()
		if err != nil || string(out) != want {
			t.Errorf("%s: %v, %d bytes, want %d", path, err, len(out), len(want))
		}
	}
}

type nowhere struct{}

func (nowhere) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

func TestLoaderWriteRefuses(t *testing.T) {
	table, err := Plan(200*mib, 512, small(), seeded(5))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		change func(*Loader, *Table, *Config)
		want   string
	}{
		{"no core.img", func(l *Loader, _ *Table, _ *Config) { l.Core = nil }, "core.img"},
		{"large core.img", func(l *Loader, _ *Table, _ *Config) { l.Core = make([]byte, 2*mib) }, "core.img has"},
		{"core.img without a list", func(l *Loader, _ *Table, _ *Config) { l.Core = make([]byte, 3000) }, "no list"},
		{"boot.img", func(l *Loader, _ *Table, _ *Config) { l.Boot = l.Boot[:100] }, "not a boot sector"},
		{"no shim", func(l *Loader, _ *Table, _ *Config) { l.Shim = nil }, "BOOTX64.EFI is missing"},
		{"another table", func(_ *Loader, t *Table, _ *Config) { t.Partitions = t.Partitions[1:] }, "no masthead-bios"},
		{"another order", func(_ *Loader, t *Table, _ *Config) { t.Partitions[0].Number = 9 }, "number 9"},
		{"command line", func(_ *Loader, _ *Table, c *Config) { c.Cmdline = "a\n}" }, "GRUB passes on no"},
		{"quotes", func(_ *Loader, _ *Table, c *Config) { c.Cmdline = `a="b` }, "without its pair"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, table, c := sampleLoader(), table, Config{}
			table.Partitions = append([]Partition(nil), table.Partitions...)
			tt.change(&l, &table, &c)
			err := l.Write(nowhere{}, table, c)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestReadLoader(t *testing.T) {
	l := sampleLoader()
	medium := fstest.MapFS{}
	for name, data := range l.Files() {
		medium["masthead/loader/"+name] = &fstest.MapFile{Data: data}
	}
	got, err := ReadLoader(medium)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(l, got); diff != "" {
		t.Errorf("loader (-want +got):\n%s", diff)
	}
	delete(medium, "masthead/loader/core.img")
	if _, err := ReadLoader(medium); err == nil || !strings.Contains(err.Error(), "core.img") {
		t.Errorf("got error %v, want one that names core.img", err)
	}
}

// GRUB's own program takes the configurations for correct scripts.
func TestConfigIsAScript(t *testing.T) {
	check := prerequisite.Program(t, "grub-script-check")
	table, err := Plan(200*mib, 512, small(), seeded(6))
	if err != nil {
		t.Fatal(err)
	}
	disk, err := Config{Cmdline: "console=tty0 it=\"{a: b}\" $x;", Serial: true, Timeout: 2}.GRUB(table)
	if err != nil {
		t.Fatal(err)
	}
	cmdline, err := CmdlineScript("a its=\"b  c\" $b {c}")
	if err != nil {
		t.Fatal(err)
	}
	if want := "function masthead_linux {\n  linux $from/boot/vmlinuz 'a' 'its=b  c' '$b' '{c}' \"$@\"\n}\n"; cmdline != want {
		t.Errorf("got %q, want %q", cmdline, want)
	}
	for name, script := range map[string]string{
		"disk": disk, "redirect": redirect, "medium": MediumGRUB("/masthead/medium-1", 2), "cmdline": cmdline + "masthead_linux\n",
	} {
		cmd := exec.Command(check)
		cmd.Stdin = strings.NewReader(script)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s\n%s", name, err, out, script)
		}
	}
	for _, want := range []string{
		`masthead_linux 'console=tty0' 'it={a: b}' '$x;' masthead.slot=$1 masthead.medium=$medium $2 $3 $4 $5`,
		"set medium=" + table.Partitions[2].UUID, "set medium=" + table.Partitions[3].UUID, `set from="($disk,gpt4)"`,
	} {
		if !strings.Contains(disk, want) {
			t.Errorf("the configuration lacks %q:\n%s", want, disk)
		}
	}
}
