package disk

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"masthead/vmtest/prerequisite"

	"github.com/diskfs/go-diskfs"
	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func seeded(s byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{s}) }

// memory is a disk in memory.
type memory []byte

func (m memory) WriteAt(p []byte, off int64) (int, error) { return copy(m[off:], p), nil }

func small() Sizes { return Sizes{ESP: 16 * mib, Slot: 20 * mib, State: 10 * mib} }

func TestPlan(t *testing.T) {
	got, err := Plan(200*mib, 512, small(), seeded(1))
	if err != nil {
		t.Fatal(err)
	}
	type row struct {
		Number      int
		Name        string
		First, Size int64 // MiB
	}
	var rows []row
	for _, p := range got.Partitions {
		rows = append(rows, row{p.Number, p.Name, p.First / mib, p.Size / mib})
	}
	want := []row{
		{1, "masthead-bios", 1, 1}, {2, "masthead-esp", 2, 16}, {3, "masthead-a", 18, 20}, {4, "masthead-b", 38, 20},
		{5, "masthead-state", 58, 10}, {6, "masthead-data", 68, 131},
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("partitions (-want +got):\n%s", diff)
	}
	again, err := Plan(200*mib, 512, small(), seeded(1))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, again); diff != "" {
		t.Errorf("the same random numbers give another plan:\n%s", diff)
	}
}

func TestPlanRefuses(t *testing.T) {
	var sector SectorError
	if _, err := Plan(1<<40, 4096, small(), seeded(1)); !errors.As(err, &sector) {
		t.Errorf("4096-byte sectors: got %v", err)
	}
	var tooSmall *TooSmallError
	_, err := Plan(100*mib, 512, small(), seeded(1))
	if !errors.As(err, &tooSmall) {
		t.Fatalf("small disk: got %v", err)
	}
	if _, err := Plan(tooSmall.Need, 512, small(), seeded(1)); err != nil {
		t.Errorf("a disk of the size that the error asks for: %v", err)
	}
	if _, err := Plan(1<<40, 512, Sizes{ESP: 1000, Slot: mib, State: mib}, seeded(1)); err == nil {
		t.Error("a size that is not of whole MiB was taken")
	}
	if _, err := Plan(200*mib, 512, small(), bytes.NewReader(make([]byte, 20))); err == nil {
		t.Error("GUIDs were made without random numbers")
	}
}

// The default sizes fit every disk from 2 GiB on, leave most of a large one for data, and overlap nowhere.
func TestDefaultSizesFit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(2*gib, 64*1024*gib).Draw(t, "disk")
		table, err := Plan(size, 512, DefaultSizes(size), seeded(1))
		if err != nil {
			t.Fatal(err)
		}
		end := int64(align)
		for _, p := range table.Partitions {
			if p.First != end || p.Size <= 0 || p.Size%align != 0 {
				t.Fatalf("partition %+v begins at %d, the one before ends at %d", p, p.First, end)
			}
			end = p.First + p.Size
		}
		if end > table.usableEnd() {
			t.Fatalf("partitions end at %d, the backup table begins at %d", end, table.usableEnd())
		}
	})
}

// What is written is read again, from either copy.
func TestTableRoundTrip(t *testing.T) {
	table, err := Plan(200*mib+512*7, 512, small(), seeded(2))
	if err != nil {
		t.Fatal(err)
	}
	disk := make(memory, table.Disk)
	copy(disk, "code of the boot sector")
	if err := table.Write(disk); err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(disk, []byte("code of the boot sector")) {
		t.Error("the code of the boot sector was overwritten")
	}
	for _, damage := range []int64{-1, 512 + 60, 1024 + 3, table.Disk - 512 + 60, table.usableEnd() + 3} {
		damaged := bytes.Clone(disk)
		if damage >= 0 {
			damaged[damage] ^= 0xff
		}
		got, err := ReadTable(bytes.NewReader(damaged), table.Disk, 512)
		if err != nil {
			t.Fatalf("damage at %d: %v", damage, err)
		}
		if diff := cmp.Diff(table, got); diff != "" {
			t.Errorf("damage at %d (-want +got):\n%s", damage, diff)
		}
	}
	clear(disk[512:2048])
	clear(disk[table.Disk-512:])
	if _, err := ReadTable(bytes.NewReader(disk), table.Disk, 512); !errors.Is(err, ErrNoTable) {
		t.Errorf("no copy left: got error %v", err)
	}
}

func TestForeignReaders(t *testing.T) {
	table, err := Plan(200*mib, 512, small(), seeded(3))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "disk.img")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(table.Disk); err != nil {
		t.Fatal(err)
	}
	if err := table.Write(f); err != nil {
		t.Fatal(err)
	}
	d, err := diskfs.Open(file, diskfs.WithOpenMode(diskfs.ReadOnly))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	pt, err := d.GetPartitionTable()
	if err != nil {
		t.Fatal(err)
	}
	theirs, ok := pt.(*gpt.Table)
	if !ok || !theirs.ProtectiveMBR || len(theirs.Partitions) != len(table.Partitions) {
		t.Fatalf("go-diskfs reads %#v", pt)
	}
	for i, p := range table.Partitions {
		if got := theirs.Partitions[i]; got.Name != p.Name || int64(got.Start)*512 != p.First || int64(got.Size) != p.Size {
			t.Errorf("go-diskfs reads %+v, want %+v", got, p)
		}
	}
	sgdisk := prerequisite.Program(t, "sgdisk")
	out, err := exec.Command(sgdisk, "-v", "-p", file).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("No problems found")) {
		t.Errorf("sgdisk -v: %v\n%s", err, out)
	}
}

func FuzzReadTable(f *testing.F) {
	table, err := Plan(200*mib, 512, small(), seeded(4))
	if err != nil {
		f.Fatal(err)
	}
	disk := make(memory, table.Disk)
	if err := table.Write(disk); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(disk[:34*512]))
	f.Fuzz(func(t *testing.T, head []byte) {
		padded := make([]byte, 64<<10)
		copy(padded, head)
		got, err := ReadTable(bytes.NewReader(padded), int64(len(padded)), 512)
		if err != nil {
			return
		}
		for _, p := range got.Partitions {
			if p.First < 0 || p.Size <= 0 || p.First+p.Size > int64(len(padded)) {
				t.Errorf("partition outside of the disk: %+v", p)
			}
		}
	})
}
