package esp

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"masthead/vmtest/prerequisite"

	"github.com/diskfs/go-diskfs"
	"github.com/google/go-cmp/cmp"
)

var epoch = time.Date(2025, 3, 4, 5, 6, 8, 0, time.UTC)

func volume() Volume { return Volume{Label: "MASTHEAD", Serial: 0x12345678, Epoch: epoch} }

// contents are bytes that tell files and clusters apart.
func contents(f File) []byte {
	b := make([]byte, f.Size)
	rnd := rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%-32.32s", f.Path))))
	rnd.Read(b)
	return b
}

func image(t testing.TB, v Volume, files []File) (Layout, []byte) {
	t.Helper()
	l, err := Plan(v, files)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, l.Size)
	copy(b, l.Head)
	for i, f := range files {
		copy(b[l.Offsets[i]:], contents(f))
	}
	return l, b
}

// Foreign readers must find no fault, the same names and the same bytes.
func TestForeignReaders(t *testing.T) {
	many := []File{{"EFI/BOOT/BOOTX64.EFI", 100_000}}
	for i := range 200 {
		many = append(many, File{fmt.Sprintf("EFI/MANY/F%d.DAT", i), int64(i * 100)})
	}
	tests := []struct {
		name  string
		files []File
	}{
		{"none", nil},
		{"one", []File{{BootX64, 5_000_000}}},
		{"secure boot", []File{{BootX64, 900_000}, {"EFI/BOOT/GRUBX64.EFI", 2_600_001}, {"EFI/debian/grub.cfg", 120}, {"EFI/BOOT/MMX64.EFI", 0}}},
		{"directory of many clusters", many},
		{"larger clusters", []File{{BootX64, 140 << 20}, {"startup.nsh", 2048}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fsck, mcopy := prerequisite.Program(t, "fsck.vfat"), prerequisite.Program(t, "mcopy")
			_, b := image(t, volume(), tt.files)
			file := filepath.Join(t.TempDir(), "esp.img")
			if err := os.WriteFile(file, b, 0o644); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(fsck, "-n", "-v", file).CombinedOutput(); err != nil {
				t.Errorf("fsck.vfat: %v\n%s", err, out)
			}
			for _, f := range tt.files {
				out, err := exec.Command(mcopy, "-n", "-i", file, "::/"+f.Path, "-").Output()
				if err != nil {
					t.Errorf("mcopy %s: %v", f.Path, err)
				} else if !bytes.Equal(out, contents(f)) {
					t.Errorf("mcopy %s: wrong contents", f.Path)
				}
			}
		})
	}
}

func TestDiskfsReads(t *testing.T) {
	files := []File{{BootX64, 3_000_000}}
	_, b := image(t, volume(), files)
	file := filepath.Join(t.TempDir(), "esp.img")
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
	disk, err := diskfs.Open(file, diskfs.WithOpenMode(diskfs.ReadOnly))
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	fs, err := disk.GetFilesystem(0)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(fs.Label()); got != "MASTHEAD" {
		t.Errorf("label %q", got)
	}
	r, err := fs.OpenFile("/"+BootX64, os.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, contents(files[0])) {
		t.Error("wrong contents")
	}
}

func TestModificationTime(t *testing.T) {
	mdir := prerequisite.Program(t, "mdir")
	_, b := image(t, volume(), []File{{BootX64, 10}})
	file := filepath.Join(t.TempDir(), "esp.img")
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(mdir, "-i", file, "::/EFI/BOOT").CombinedOutput()
	if err != nil {
		t.Fatalf("mdir: %v\n%s", err, out)
	}
	for _, want := range []string{"BOOTX64  EFI        10 2025-03-04   5:06", "Volume Serial Number is 1234-5678"} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("mdir does not show %q:\n%s", want, out)
		}
	}
}

func TestStamp(t *testing.T) {
	tests := []struct {
		at   time.Time
		want dosTime
	}{
		{epoch, dosTime{45<<9 | 3<<5 | 4, 5<<11 | 6<<5 | 4}},
		{epoch.In(time.FixedZone("", 3600)), dosTime{45<<9 | 3<<5 | 4, 5<<11 | 6<<5 | 4}},
		{time.Unix(0, 0), dosTime{1<<5 | 1, 0}},
		{time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC), dosTime{127<<9 | 12<<5 | 31, 23<<11 | 59<<5 | 29}},
	}
	for _, tt := range tests {
		if got := stamp(tt.at); got != tt.want {
			t.Errorf("stamp(%v) = %v, want %v", tt.at, got, tt.want)
		}
	}
}

func TestOrderOfFilesDoesNotMatter(t *testing.T) {
	files := []File{{BootX64, 5000}, {"EFI/BOOT/GRUBX64.EFI", 7000}, {"A.TXT", 1}}
	_, first := image(t, volume(), files)
	slices.Reverse(files)
	_, second := image(t, volume(), files)
	if !bytes.Equal(first, second) {
		t.Error("the bytes depend on the order of the files")
	}
}

func TestGeometry(t *testing.T) {
	tests := []struct {
		size  int64
		per   int64
		total int64 // MiB
	}{
		{0, 4, 9},
		{8 << 20, 4, 9},
		{55 << 20, 4, 56},
		{127 << 20, 4, 128},
		{128 << 20, 8, 129},
		{1 << 30, 64, 1025},
	}
	for _, tt := range tests {
		g, err := fit(0, func(c int64) int64 { return ceil(tt.size, c) })
		if err != nil {
			t.Fatal(err)
		}
		if got := g.total * sector >> 20; g.perCluster != tt.per || got != tt.total {
			t.Errorf("%d bytes: %d sectors per cluster, %d MiB; want %d and %d", tt.size, g.perCluster, got, tt.per, tt.total)
		}
		if g.dataStart*sector%Alignment != 0 || g.fatSectors*sector < (g.clusters+firstCluster)*2 {
			t.Errorf("%d bytes: bad geometry %+v", tt.size, g)
		}
	}
}

func TestPlanRefuses(t *testing.T) {
	root := make([]File, 512)
	for i := range root {
		root[i] = File{Path: fmt.Sprintf("F%d", i)}
	}
	tests := []struct {
		name  string
		files []File
		want  string
	}{
		{"long name", []File{{"EFI/BOOT/bootx64-new.efi", 1}}, "not an 8.3 name"},
		{"empty part", []File{{"EFI//A", 1}}, "not an 8.3 name"},
		{"dot dot", []File{{"../A", 1}}, "not an 8.3 name"},
		{"character", []File{{"A+B", 1}}, "character"},
		{"not ASCII", []File{{"é", 1}}, "character"},
		{"twice", []File{{"A", 1}, {"a", 1}}, "taken"},
		{"file as directory", []File{{"A", 1}, {"A/B", 1}}, "taken"},
		{"directory as file", []File{{"A/B", 1}, {"A", 1}}, "taken"},
		{"too large", []File{{"A", 1 << 31}}, "2 GiB"},
		{"too large together", []File{{"A", 1<<31 - 1}, {"B", 1 << 20}}, "do not fit"},
		{"full root", root, "512 entries"},
		{"negative", []File{{"A", -1}}, "size -1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Plan(volume(), tt.files)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
	if _, err := Plan(Volume{Label: "LONGER THAN ELEVEN"}, nil); err == nil {
		t.Error("a long label was taken")
	}
}

// A file system that fills its partition has room for what an upgrade writes, and is whole.
func TestFillsItsPartition(t *testing.T) {
	fsck := prerequisite.Program(t, "fsck.vfat")
	for _, size := range []int64{9 << 20, 16 << 20, 64 << 20, 128 << 20, 256 << 20, 2000 << 20} {
		v := volume()
		v.Size = size
		l, err := Plan(v, []File{{BootX64, 5000}})
		if err != nil {
			t.Fatalf("%d MiB: %v", size>>20, err)
		}
		if l.Size != size {
			t.Errorf("%d MiB: the file system has %d bytes", size>>20, l.Size)
		}
		file := filepath.Join(t.TempDir(), "esp.img")
		if err := os.WriteFile(file, l.Head, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(file, size); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(fsck, "-n", "-v", file).CombinedOutput(); err != nil {
			t.Errorf("%d MiB: fsck.vfat: %v\n%s", size>>20, err, out)
		}
	}
	for _, size := range []int64{1 << 20, 3000 << 20, 9<<20 + 1} {
		v := volume()
		v.Size = size
		if _, err := Plan(v, nil); err == nil {
			t.Errorf("a file system of %d bytes was planned", size)
		}
	}
}

func TestOffsets(t *testing.T) {
	files := []File{{BootX64, 1}, {"B", 4096}, {"C", 4097}}
	l, err := Plan(volume(), files)
	if err != nil {
		t.Fatal(err)
	}
	head := int64(len(l.Head))
	// In the order of the tree: B, C, EFI/BOOT/BOOTX64.EFI.
	want := []int64{head + 4096 + 6144, head, head + 4096}
	if diff := cmp.Diff(want, l.Offsets); diff != "" {
		t.Errorf("offsets (-want +got):\n%s", diff)
	}
	if head%Alignment != 0 {
		t.Errorf("metadata of %d bytes is not aligned", head)
	}
}
