package blockdev

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"masthead/images/disk"
	"masthead/vmtest/prerequisite"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What the tools that make file systems write is what is found.
func TestProbe(t *testing.T) {
	const size = 64 << 20
	for _, tt := range []struct {
		want string
		make []string // the file is appended
	}{
		{"nothing", nil},
		{"ext2/3/4 data", []string{"mkfs.ext4", "-q", "-F", "-L", "data"}},
		{"FAT STICK", []string{"mkfs.vfat", "-n", "STICK"}},
		{"swap", []string{"mkswap", "-q"}},
	} {
		t.Run(tt.want, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "disk")
			must(t, os.WriteFile(file, nil, 0o600))
			must(t, os.Truncate(file, size))
			if tt.make != nil {
				program := prerequisite.Program(t, tt.make[0])
				if out, err := exec.Command(program, append(tt.make[1:], file)...).CombinedOutput(); err != nil {
					t.Fatalf("%v: %v: %s", tt.make, err, out)
				}
			}
			found, err := ProbeDevice(file)
			must(t, err)
			if got := Describe(found); got != tt.want {
				t.Errorf("found %q, want %q", got, tt.want)
			}
		})
	}
}

// Marks that no tool here makes, and what nobody knows.
func TestProbeMarks(t *testing.T) {
	const size = 4 << 20
	for _, tt := range []struct {
		want  string
		at    int
		bytes string
	}{
		{"LVM physical volume", 512, "LABELONE"},
		{"btrfs", 0x10040, "_BHRfS_M"},
		{"xfs", 0, "XFSB"},
		{"LUKS", 0, "LUKS\xba\xbe"},
		{"NTFS", 3, "NTFS    "},
		{"RAID member", 4096, "\xfc\x4e\x2b\xa9"},
		{"RAID member", size - 64<<10, "\xfc\x4e\x2b\xa9"},
		{"DRBD", size - 4096 + 60, "\x83\x74\x02\x6b"},
		{"GPT", size - 512, "EFI PART"},
		{"partition table (MBR)", 510, "\x55\xaa"},
		{"data", 700 << 10, "x"},
		{"data", size - 1, "x"},
		{"nothing", 2 << 20, "in the middle, where nothing that one could mount begins"},
	} {
		b := make([]byte, size)
		copy(b[tt.at:], tt.bytes)
		found, err := Probe(bytes.NewReader(b), size)
		must(t, err)
		if got := Describe(found); got != tt.want {
			t.Errorf("%q at %d: found %q, want %q", tt.bytes, tt.at, got, tt.want)
		}
	}
}

func FuzzProbe(f *testing.F) {
	f.Add([]byte("EFI PART"), 512)
	f.Fuzz(func(t *testing.T, b []byte, at int) {
		disk := make([]byte, max(0, min(at, 1<<20))+len(b))
		copy(disk[len(disk)-len(b):], b)
		found, err := Probe(bytes.NewReader(disk), int64(len(disk)))
		if err != nil {
			t.Fatal(err)
		}
		if (len(found) == 0) != zero(disk) && len(disk) <= 2*probed {
			t.Errorf("%d bytes, all zeros %v: found %v", len(disk), zero(disk), found)
		}
	})
}

// fakeSys is a sysfs with two disks, the first of which has two partitions.
func fakeSys(t *testing.T) (sys, dev string, table disk.Table) {
	t.Helper()
	sys, dev = t.TempDir(), t.TempDir()
	put := func(path, text string) {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(sys, path)), 0o755))
		must(t, os.WriteFile(filepath.Join(sys, path), []byte(text+"\n"), 0o644))
	}
	add := func(path, number, sectors string) {
		put(path+"/dev", number)
		put(path+"/size", sectors)
		put(path+"/ro", "0")
		must(t, os.MkdirAll(filepath.Join(sys, path, "holders"), 0o755))
		must(t, os.MkdirAll(filepath.Join(sys, "class/block"), 0o755))
		must(t, os.Symlink(filepath.Join(sys, path), filepath.Join(sys, "class/block", filepath.Base(path))))
	}
	const size = 1 << 30
	add("devices/sda", "8:0", "2097152")
	put("devices/sda/queue/logical_block_size", "512")
	put("devices/sda/device/model", "WDC  ")
	put("devices/sda/device/vpd_pg80", "\x00\x80\x00\x08  WD-1234")
	for n := range 6 {
		name := "devices/sda/sda" + string(rune('1'+n))
		add(name, "8:"+string(rune('1'+n)), "2048")
		put(name+"/partition", string(rune('1'+n)))
	}
	add("devices/vdb", "254:16", "2048")
	put("devices/vdb/serial", "S2")
	add("devices/loop0", "7:0", "0")
	file := filepath.Join(dev, "sda")
	must(t, os.WriteFile(file, nil, 0o600))
	must(t, os.Truncate(file, size))
	must(t, os.WriteFile(filepath.Join(dev, "vdb"), make([]byte, 1<<20), 0o600))
	table, err := disk.Plan(size, 512, disk.Sizes{ESP: 64 << 20, Slot: 64 << 20, State: 64 << 20}, rand.Reader)
	must(t, err)
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	must(t, err)
	must(t, table.Write(f))
	must(t, f.Close())
	return sys, dev, table
}

func TestList(t *testing.T) {
	sys, dev, table := fakeSys(t)
	must(t, os.MkdirAll(filepath.Join(sys, "devices/sda/sda4/holders/dm-0"), 0o755))
	all, err := List(sys, dev)
	must(t, err)
	if len(all) != 8 { // without loop0, which is of no size
		t.Fatalf("%d devices: %+v", len(all), all)
	}
	want := Device{Name: "sda", Path: filepath.Join(dev, "sda"), Number: "8:0", Size: 1 << 30, Sector: 512, Model: "WDC", Serial: "WD-1234"}
	if d := cmp.Diff(want, all[0]); d != "" {
		t.Errorf("sda (-want +got):\n%s", d)
	}
	if all[0].ID() != "WD-1234" || (Device{Name: "x"}).ID() != "x" {
		t.Error("what is to be typed")
	}
	b, _ := table.Slot(disk.SlotB)
	part, whole, _, err := ByGUID(all, b.UUID)
	if err != nil || part.Name != "sda4" || whole.Name != "sda" {
		t.Errorf("slot b is %s of %s, %v", part.Name, whole.Name, err)
	}
	if _, _, _, err := ByGUID(all, "0fc63daf-8483-4772-8e79-3d69d8477de4"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a GUID that no disk has: %v", err)
	}
	if state, err := Named(all, whole, table, disk.NameState); err != nil || state.Name != "sda5" {
		t.Errorf("state is %s, %v", state.Name, err)
	}
	if d, err := DiskOf(all, part.Path); err != nil || d.Name != "sda" {
		t.Errorf("the disk of %s is %s, %v", part.Path, d.Name, err)
	}
	proc := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(proc, "self"), 0o755))
	must(t, os.WriteFile(filepath.Join(proc, "self/mountinfo"), []byte(
		"22 1 8:5 / / rw - ext4 /dev/sda5 rw\n23 22 8:3 / /mnt/my\\040disk ro - iso9660 /dev/sda3 ro\nbad\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(proc, "swaps"), []byte("Filename Type Size\n"+filepath.Join(dev, "sda6")+" partition 1\n"), 0o644))
	uses, err := ReadUses(proc, all)
	must(t, err)
	if d := cmp.Diff(Uses{"8:5": {"mounted at /"}, "8:3": {"mounted at /mnt/my disk"}, "8:6": {"swap"}, "8:4": {"part of dm-0"}}, uses); d != "" {
		t.Errorf("uses (-want +got):\n%s", d)
	}
	if !strings.Contains(table.GUID, "-") {
		t.Error("no table")
	}
}
