package iso

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"masthead/images/esp"
	"masthead/vmtest/prerequisite"
)

func TestPlanRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Image)
		want   string
	}{
		{"volume ID", func(i *Image) { i.VolumeID = "masthead" }, "volume identifier"},
		{"no volume ID", func(i *Image) { i.VolumeID = "" }, "volume identifier"},
		{"no epoch", func(i *Image) { i.Epoch = time.Time{} }, "epoch"},
		{"absolute path", func(i *Image) { i.Files = append(i.Files, file("/x", 1)) }, `part ""`},
		{"dot dot", func(i *Image) { i.Files = append(i.Files, file("a/../x", 1)) }, `part ".."`},
		{"long name", func(i *Image) { i.Files = append(i.Files, file(strings.Repeat("x", 101), 1)) }, "longer than 100"},
		{"not UTF-8", func(i *Image) { i.Files = append(i.Files, file("\xff", 1)) }, "not UTF-8"},
		{"deep", func(i *Image) { i.Files = append(i.Files, file("1/2/3/4/5/6/7/x", 1)) }, "deeper than 7"},
		{"twice", func(i *Image) { i.Files = append(i.Files, file("masthead/pack", 1)) }, "taken"},
		{"file as folder", func(i *Image) { i.Files = append(i.Files, file("masthead/pack/x", 1)) }, "taken"},
		{"negative size", func(i *Image) { i.Files = append(i.Files, file("x", 0), File{Path: "y", Size: -1}) }, "size -1"},
		{"nothing to open", func(i *Image) { i.Files = append(i.Files, File{Path: "x", Size: 1}) }, "Open is nil"},
		{"nothing to open in ESP", func(i *Image) { i.ESP[0].Open = nil }, "Open is nil"},
		{"loader's folder", func(i *Image) { i.Files = append(i.Files, file("isolinux/x", 1)) }, "belongs to the loader"},
		{"loader's folder as file", func(i *Image) { i.Files = append(i.Files, file("isolinux", 1)) }, "belongs to the loader"},
		{"long ESP name", func(i *Image) { i.ESP = append(i.ESP, file("EFI/toolongname", 1)) }, "not an 8.3 name"},
		{"short ISOLINUX", func(i *Image) { i.BIOS.ISOLINUX = nil }, "isolinux.bin has only 0 bytes"},
		{"no ldlinux", func(i *Image) { i.BIOS.LDLinux = nil }, "ldlinux.c32 is empty"},
		{"wrong MBR", func(i *Image) { i.BIOS.HybridMBR = make([]byte, 512) }, "isohdpfx.bin has 512 bytes"},
		{"too large", func(i *Image) {
			for n := range 9 {
				i.Files = append(i.Files, File{Path: fmt.Sprint(n), Size: maxFileSize, Open: later})
			}
		}, "more than ISO 9660 can hold"},
		{"shared with nothing", func(i *Image) {
			i.Files = append(i.Files, File{Path: "x", Size: 1, Shared: &Shared{Path: "EFI/X"}})
		}, "not in the EFI system partition"},
		{"shared beyond the end", func(i *Image) {
			i.Files = append(i.Files, File{Path: "x", Size: 200_000, Shared: &Shared{Path: esp.BootX64, Offset: 2048}})
		}, "outside of"},
		{"shared at odd offset", func(i *Image) {
			i.Files = append(i.Files, File{Path: "x", Size: 1, Shared: &Shared{Path: esp.BootX64, Offset: 512}})
		}, "not a multiple"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			img := sample()
			tt.change(&img)
			_, err := Plan(img)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestPlanReportsAllFaults(t *testing.T) {
	img := sample()
	img.VolumeID = "no good"
	img.BIOS.LDLinux = nil
	img.BIOS.Menu.Entries[0].Kernel = "missing"
	_, err := Plan(img)
	for _, want := range []string{"volume identifier", "ldlinux.c32", `kernel "missing"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want one with %q", err, want)
		}
	}
}

// The parts that can be left out.
func TestPartialImages(t *testing.T) {
	xorriso, sgdisk := prerequisite.Program(t, "xorriso"), prerequisite.Program(t, "sgdisk")
	tests := []struct {
		name   string
		change func(*Image)
		want   []string
		none   []string
	}{
		{"BIOS only", func(i *Image) { i.ESP = nil }, []string{"BIOS"}, []string{"UEFI"}},
		{"UEFI only", func(i *Image) { i.BIOS = nil }, []string{"UEFI"}, []string{"BIOS"}},
		{"data only", func(i *Image) { i.BIOS, i.ESP = nil, nil }, nil, []string{"El Torito images"}},
		{"CD only", func(i *Image) { i.BIOS.HybridMBR = nil }, []string{"BIOS", "UEFI"}, []string{"0x80"}},
		{"empty", func(i *Image) { i.BIOS, i.ESP, i.Files = nil, nil, nil }, nil, []string{"El Torito images"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			img := sample()
			tt.change(&img)
			iso := build(t, img)
			out := output(t, xorriso, "-indev", iso, "-report_el_torito", "plain", "-report_system_area", "plain")
			for _, want := range tt.want {
				if !strings.Contains(out, want) {
					t.Errorf("xorriso does not show %q:\n%s", want, out)
				}
			}
			for _, bad := range tt.none {
				if strings.Contains(out, bad) {
					t.Errorf("xorriso shows %q:\n%s", bad, out)
				}
			}
			if out := output(t, sgdisk, "-v", iso); !strings.Contains(out, "No problems found") {
				t.Errorf("sgdisk:\n%s", out)
			}
		})
	}
}

// A file of several extents, as one of more than 4 GiB has them, without one.
func TestSeveralExtents(t *testing.T) {
	bsdtar := prerequisite.Program(t, "bsdtar")
	img := sample()
	l, err := plan(img, 512*sectorSize)
	if err != nil {
		t.Fatal(err)
	}
	iso := filepath.Join(t.TempDir(), "iso")
	w, err := os.Create(iso)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := l.Write(context.Background(), w); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	output(t, bsdtar, "-x", "-C", dir, "-f", iso)
	compareTree(t, dir, img.Files)
}

// A file larger than a directory record can say, by what xorriso makes of it;
// the file is sparse, and so is the image.
func TestFileOver4GiB(t *testing.T) {
	xorriso := prerequisite.Program(t, "xorriso")
	const size = 5<<30 + 1
	img := Image{VolumeID: "LARGE", Epoch: epoch, Files: []File{{Path: "large", Size: size, Open: later}}}
	l, err := Plan(img)
	if err != nil {
		t.Fatal(err)
	}
	iso := filepath.Join(t.TempDir(), "iso")
	w, err := os.Create(iso)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Truncate(l.Size); err != nil {
		t.Fatal(err)
	}
	for _, s := range l.segments {
		if s.open == nil {
			if _, err := w.WriteAt(s.data, s.offset); err != nil {
				t.Fatal(err)
			}
		}
	}
	out := output(t, xorriso, "-indev", iso, "-find", "/large", "-exec", "report_lba", "--", "-find", "/large", "-exec", "lsdl")
	// Sections 0 and 1: 2097151 blocks of 2 KiB, then the rest.
	for _, want := range []string{"2097151 ,", "524290 ,", fmt.Sprint(" ", size, " Mar  4  2025 '/large'")} {
		if !strings.Contains(out, want) {
			t.Errorf("xorriso does not show %q:\n%s", want, out)
		}
	}
}

// Files inside of the partition read as themselves and take no room.
func TestSharedFiles(t *testing.T) {
	bsdtar := prerequisite.Program(t, "bsdtar")
	img := sample()
	whole := contents(esp.BootX64, 200_000)
	plain, err := Plan(img)
	if err != nil {
		t.Fatal(err)
	}
	img.Files = append(img.Files,
		File{Path: "part", Size: 50_000, Shared: &Shared{Path: esp.BootX64, Offset: 4096}},
		File{Path: "all", Size: 200_000, Shared: &Shared{Path: esp.BootX64}})
	iso := build(t, img)
	for path, want := range map[string][]byte{"part": whole[4096:54096], "all": whole} {
		if got := output(t, bsdtar, "-xOf", iso, path); got != string(want) {
			t.Errorf("%s has the wrong contents", path)
		}
	}
	info, err := os.Stat(iso)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() != plain.Size {
		t.Errorf("image has %d bytes, without the shared files %d", info.Size(), plain.Size)
	}
}

// FuzzPlan: any names and sizes give an error or a layout that can be written
// without overlaps and that bsdtar's library reads back.
func FuzzPlan(f *testing.F) {
	f.Add("boot/vmlinuz", int64(100), "masthead/pack", int64(5000), "console=ttyS0")
	f.Add("a", int64(0), "A", int64(1), "")
	f.Add("é/é", int64(2047), "e_/e_", int64(2048), "x")
	f.Add("same.TXT", int64(2049), "same.txt", int64(1), "x")
	f.Fuzz(func(t *testing.T, p1 string, n1 int64, p2 string, n2 int64, cmdline string) {
		if n1 > 1<<20 || n2 > 1<<20 {
			return
		}
		img := Image{VolumeID: "FUZZ", Epoch: epoch, ESP: []File{zeros("A", 1)}, BIOS: fakeBIOS(), Files: []File{zeros(p1, n1), zeros(p2, n2)}}
		img.BIOS.Menu.Entries = []Entry{{Label: "x", Kernel: p1, Initrd: p2, Append: cmdline}}
		l, err := Plan(img)
		if err != nil {
			return
		}
		if cfg := img.BIOS.Menu.config(); strings.Count(cfg, "\n") != strings.Count(menuShape(img.BIOS.Menu), "\n") {
			t.Errorf("a value broke out of its line:\n%s", cfg)
		}
		var n counter
		if err := l.Write(context.Background(), &n); err != nil {
			t.Fatal(err)
		}
		if int64(n) != l.Size {
			t.Errorf("wrote %d bytes, layout says %d", n, l.Size)
		}
	})
}

// menuShape is the configuration with harmless values.
func menuShape(m Menu) string {
	entries := make([]Entry, len(m.Entries))
	for i, e := range m.Entries {
		entries[i] = Entry{Label: "x", Kernel: "x"}
		if e.Initrd != "" {
			entries[i].Initrd = "x"
		}
		if e.Append != "" {
			entries[i].Append = "x"
		}
	}
	m.Entries = entries
	return m.config()
}

func zeros(path string, size int64) File {
	return File{Path: path, Size: size, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(make([]byte, size))), nil
	}}
}

type counter int64

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }
