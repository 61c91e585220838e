package uki

import (
	"bytes"
	"debug/pe"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"masthead/vmtest/prerequisite"

	"github.com/google/go-cmp/cmp"
)

func blob(b []byte) Source {
	return Source{Size: int64(len(b)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(b)), nil
	}}
}

func kernel(size int) []byte {
	b := bytes.Repeat([]byte("kernel"), size/6+1)[:size]
	copy(b, "MZ")
	copy(b[0x202:], "HdrS")
	return b
}

func sample() Image {
	return Image{
		Stub:      stub(5),
		OSRelease: "ID=masthead\n",
		Cmdline:   "console=ttyS0",
		Uname:     "6.12.0",
		Kernel:    blob(kernel(10000)),
		Initramfs: blob(bytes.Repeat([]byte("initramfs"), 1000)),
	}
}

func readAll(t *testing.T, l Layout) []byte {
	t.Helper()
	r, err := l.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// realStub is the stub of the installed systemd.
func realStub(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("/usr/lib/systemd/boot/efi/linuxx64.efi.stub")
	if err != nil {
		prerequisite.Missing(t, "the stub of systemd (Debian package systemd-boot-efi): %v", err)
	}
	return b
}

func TestPlan(t *testing.T) {
	l, err := Plan(sample())
	if err != nil {
		t.Fatal(err)
	}
	want := []Section{
		{".osrel", 0x1000, 12, 0x2000},
		{".cmdline", 0x2000, 13, 0x3000},
		{".uname", 0x3000, 6, 0x4000},
		{".initrd", 0x4000, 9000, 0x5000},
		{".linux", 0x7000, 10000, 0x8000},
	}
	if diff := cmp.Diff(want, l.Sections); diff != "" {
		t.Errorf("sections (-want +got):\n%s", diff)
	}
	if want := int64(0x7000 + 20*512); l.Size != want {
		t.Errorf("size %d, want %d", l.Size, want)
	}
}

// debug/pe is the foreign reader: it must see the stub's sections unchanged and
// ours with exactly their contents.
func TestImageReadsBack(t *testing.T) {
	for _, tt := range []struct {
		name string
		stub func(testing.TB) []byte
	}{
		{"sample", func(testing.TB) []byte { return stub(5) }},
		{"systemd", realStub},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img := sample()
			img.Stub = tt.stub(t)
			l, err := Plan(img)
			if err != nil {
				t.Fatal(err)
			}
			b := readAll(t, l)
			got, err := pe.NewFile(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			old, err := pe.NewFile(bytes.NewReader(img.Stub))
			if err != nil {
				t.Fatal(err)
			}
			for i, s := range old.Sections {
				if diff := cmp.Diff(s.SectionHeader, got.Sections[i].SectionHeader); diff != "" {
					t.Errorf("stub section %s changed (-want +got):\n%s", s.Name, diff)
				}
			}
			contents := map[string]string{
				".osrel": img.OSRelease, ".cmdline": img.Cmdline, ".uname": img.Uname,
				".linux": string(kernel(10000)), ".initrd": strings.Repeat("initramfs", 1000),
			}
			end := uint32(0)
			for i, s := range got.Sections {
				if s.VirtualAddress < end {
					t.Errorf("section %s at %#x overlaps the one before, ending at %#x", s.Name, s.VirtualAddress, end)
				}
				end = s.VirtualAddress + s.VirtualSize
				if i < len(old.Sections) {
					continue
				}
				data, err := s.Data()
				if err != nil {
					t.Fatal(err)
				}
				if string(data[:s.VirtualSize]) != contents[s.Name] {
					t.Errorf("section %s has the wrong contents", s.Name)
				}
				delete(contents, s.Name)
			}
			if len(contents) > 0 {
				t.Errorf("sections not found: %v", contents)
			}
			opt := got.OptionalHeader.(*pe.OptionalHeader64)
			if opt.SizeOfImage < end || opt.SizeOfImage%opt.SectionAlignment != 0 {
				t.Errorf("SizeOfImage %#x, last section ends at %#x", opt.SizeOfImage, end)
			}
		})
	}
}

func TestObjdumpAccepts(t *testing.T) {
	prerequisite.Programs(t, "objdump")
	img := sample()
	img.Stub = realStub(t)
	l, err := Plan(img)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "image.efi")
	if err := os.WriteFile(file, readAll(t, l), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("objdump", "-h", "-j", ".linux", "-j", ".cmdline", file).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("warning")) {
		t.Fatalf("objdump: %v\n%s", err, out)
	}
	if !bytes.Contains(out, []byte(".linux        00002710")) {
		t.Errorf("objdump does not show 10000 bytes of .linux:\n%s", out)
	}
}

func TestStreamKeepsReaderContract(t *testing.T) {
	l, err := Plan(sample())
	if err != nil {
		t.Fatal(err)
	}
	want := readAll(t, l)
	if int64(len(want)) != l.Size {
		t.Errorf("stream has %d bytes, layout says %d", len(want), l.Size)
	}
	r, err := l.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := iotest.TestReader(r, want); err != nil {
		t.Error(err)
	}
}

func TestAbsentTextsMakeNoSection(t *testing.T) {
	img := sample()
	img.OSRelease, img.Uname = "", ""
	l, err := Plan(img)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := l.Section(".osrel"); ok {
		t.Error("an empty .osrel section was made")
	}
	if _, ok := l.Section(".linux"); !ok {
		t.Error("no .linux section")
	}
}

func TestPlanRefuses(t *testing.T) {
	big := func(n int64) Source { return Source{Size: n, Open: blob(nil).Open} }
	tests := []struct {
		name   string
		change func(*Image)
		want   string
	}{
		{"no kernel", func(i *Image) { i.Kernel = Source{} }, "kernel is missing"},
		{"no initramfs", func(i *Image) { i.Initramfs = blob(nil) }, "initramfs is empty"},
		{"newline", func(i *Image) { i.Cmdline = "a\nb" }, "0x0a at 1"},
		{"long command line", func(i *Image) { i.Cmdline = strings.Repeat("x", 2048) }, "has 2048 bytes"},
		{"full section table", func(i *Image) { i.Stub = stub(4) }, "no room for the header of section .linux"},
		{"no stub", func(i *Image) { i.Stub = nil }, "no DOS header"},
		{"huge initramfs", func(i *Image) { i.Initramfs = big(1 << 31) }, "larger than 2 GiB"},
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

func TestStreamReportsSourceFaults(t *testing.T) {
	broken := errors.New("disk on fire")
	tests := []struct {
		name   string
		change func(*Image)
		want   string
	}{
		{"short", func(i *Image) { i.Initramfs.Size++ }, "ended after 9000 bytes, want 9001"},
		{"long", func(i *Image) { i.Initramfs.Size-- }, "has more than 8999 bytes"},
		{"not openable", func(i *Image) { i.Kernel.Open = func() (io.ReadCloser, error) { return nil, broken } }, "open section .linux: disk on fire"},
		{"not readable", func(i *Image) {
			i.Initramfs.Open = func() (io.ReadCloser, error) { return io.NopCloser(iotest.ErrReader(broken)), nil }
		}, "read section .initrd: disk on fire"},
		{"not a kernel", func(i *Image) { i.Kernel = blob(make([]byte, 1000)) }, "not a bzImage"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			img := sample()
			tt.change(&img)
			l, err := Plan(img)
			if err != nil {
				t.Fatal(err)
			}
			r, err := l.Open()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			_, err = io.ReadAll(r)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
}

// Every source that was opened is closed, whether read to its end or not.
func TestStreamClosesSources(t *testing.T) {
	for _, partial := range []bool{false, true} {
		open := 0
		img := sample()
		counted := func(src Source) Source {
			return Source{Size: src.Size, Open: func() (io.ReadCloser, error) {
				r, err := src.Open()
				open++
				return readCloser{r, closer(func() error { open--; return nil })}, err
			}}
		}
		img.Kernel, img.Initramfs = counted(img.Kernel), counted(img.Initramfs)
		l, err := Plan(img)
		if err != nil {
			t.Fatal(err)
		}
		r, err := l.Open()
		if err != nil {
			t.Fatal(err)
		}
		n := l.Size
		if partial {
			n = l.Sections[len(l.Sections)-1].Offset + 1
		}
		if _, err := io.CopyN(io.Discard, r, n); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if open != 0 {
			t.Errorf("partial %v: %d sources left open", partial, open)
		}
	}
}

type closer func() error

func (c closer) Close() error { return c() }
