package iso

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/diskfs/go-diskfs"
	"github.com/google/go-cmp/cmp"

	"masthead/builder/loader"
	"masthead/images/esp"
	"masthead/vmtest/prerequisite"
)

var epoch = time.Date(2025, 3, 4, 5, 6, 8, 0, time.UTC)

// contents are bytes that tell files apart.
func contents(path string, size int64) []byte {
	b := make([]byte, size)
	rand.NewChaCha8(sha256.Sum256([]byte(path))).Read(b)
	return b
}

func file(path string, size int64) File {
	return File{Path: path, Size: size, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(contents(path, size))), nil
	}}
}

func menu() Menu {
	return Menu{
		Serial:  "0 115200",
		Timeout: 3 * time.Second,
		Entries: []Entry{
			{Label: "masthead", Kernel: "boot/vmlinuz", Initrd: "boot/initramfs", Append: "console=ttyS0"},
			{Label: "rescue", Kernel: "boot/vmlinuz", Initrd: "boot/initramfs", Append: "console=ttyS0 masthead.rescue"},
		},
	}
}

// fakeBIOS has loader files that do not boot.
func fakeBIOS() *BIOS {
	return &BIOS{
		ISOLINUX:  contents("isolinux.bin", 38913),
		LDLinux:   contents("ldlinux.c32", 5000),
		HybridMBR: contents("isohdpfx.bin", 432),
		Menu:      menu(),
	}
}

func sample() Image {
	return Image{
		VolumeID: "MASTHEAD",
		Epoch:    epoch,
		Files: []File{
			file("masthead/pack", 3_000_001),
			file("masthead/manifest.json", 2048),
			file("boot/vmlinuz", 70_000),
			file("boot/initramfs", 90_000),
			file("boot/empty", 0),
		},
		BIOS: fakeBIOS(),
		ESP:  []File{file(esp.BootX64, 200_000)},
	}
}

func build(t testing.TB, img Image) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.iso")
	w, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	n, err := Write(context.Background(), w, img)
	if err != nil {
		t.Fatal(err)
	}
	info, err := w.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() != n {
		t.Fatalf("wrote %d bytes, Write says %d", info.Size(), n)
	}
	return path
}

func output(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}

// realBIOS has the loaders of the installed packages.
func realBIOS(t testing.TB) *BIOS {
	t.Helper()
	set, err := loader.Find("/", loader.ISOLINUX, loader.LDLinux, loader.HybridMBR)
	if err != nil {
		prerequisite.Missing(t, "the loaders for BIOS: %v", err)
	}
	return &BIOS{ISOLINUX: set[loader.ISOLINUX], LDLinux: set[loader.LDLinux], HybridMBR: set[loader.HybridMBR], Menu: menu()}
}

func TestXorrisoAccepts(t *testing.T) {
	xorriso := prerequisite.Program(t, "xorriso")
	img := sample()
	img.BIOS = realBIOS(t)
	iso := build(t, img)
	out := output(t, xorriso, "-indev", iso, "-report_el_torito", "plain", "-report_system_area", "plain", "-pvd_info")
	for _, want := range []string{
		`El Torito catalog  : 19  1`,
		`El Torito boot img :   1  BIOS  y   none  0x0000  0x00      4 `,
		`El Torito boot img :   2  UEFI  y   none  0x0000  0x00  18432 `,
		`El Torito img path :   1  /isolinux/isolinux.bin`,
		`El Torito img opts :   1  boot-info-table isohybrid-suitable`,
		`System area summary: MBR isohybrid .*GPT`,
		`Volume Id    : MASTHEAD`,
		`Creation Time: 2025030405060800`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("xorriso does not show %q", want)
		}
	}
	if bad := regexp.MustCompile(`(?im)^.*(warning|failure|sorry|fatal|damage|not match).*$`).FindAllString(out, -1); bad != nil {
		t.Errorf("xorriso complains: %q", bad)
	}
	if t.Failed() {
		t.Log(out)
	}
}

func TestSgdiskFindsNoProblem(t *testing.T) {
	sgdisk := prerequisite.Program(t, "sgdisk")
	iso := build(t, sample())
	out := output(t, sgdisk, "-v", "-p", iso)
	for _, want := range []string{"No problems found", "Main partition table begins at sector 2", "EF00  EFI system partition"} {
		if !strings.Contains(out, want) {
			t.Errorf("sgdisk does not show %q", want)
		}
	}
	for _, bad := range []string{"Caution", "Warning", "Problem:", "hybrid"} {
		if strings.Contains(out, bad) {
			t.Errorf("sgdisk shows %q", bad)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}

// The El Torito entry, the GPT and the file system must mean the same bytes.
func TestPartitionIsASoundFileSystem(t *testing.T) {
	fsck, mcopy := prerequisite.Program(t, "fsck.vfat"), prerequisite.Program(t, "mcopy")
	img := sample()
	iso, err := os.ReadFile(build(t, img))
	if err != nil {
		t.Fatal(err)
	}
	// Entry 1 of the GPT and entry 2 of the boot catalog, by their own offsets.
	start := int64(le64(iso[1024+32:])) * 512
	end := int64(le64(iso[1024+40:])+1) * 512
	catalog := iso[19*2048:]
	if got := int64(le32(catalog[32+32+32+8:])) * 2048; got != start {
		t.Errorf("El Torito points at %d, GPT at %d", got, start)
	}
	path := filepath.Join(t.TempDir(), "esp.img")
	if err := os.WriteFile(path, iso[start:end], 0o644); err != nil {
		t.Fatal(err)
	}
	output(t, fsck, "-n", path)
	got := output(t, mcopy, "-n", "-i", path, "::/EFI/BOOT/BOOTX64.EFI", "-")
	if got != string(contents(esp.BootX64, 200_000)) {
		t.Error("BOOTX64.EFI has the wrong contents")
	}
}

// names are hard for one reader or the other.
func hardNames() []File {
	files := []File{
		file("masthead/a name with spaces.tar.zst", 5),
		file("masthead/UPPER.TXT", 6),
		file("masthead/upper.txt", 7),
		file("masthead/ümlaut", 8),
		file("masthead/.hidden", 9),
		file("masthead/"+strings.Repeat("long", 25), 10),
		file("a/b/c/d/e/f/deep", 11),
	}
	for i := range 300 {
		files = append(files, file(fmt.Sprintf("many/an-entry-with-a-long-name-that-collides-%03d", i), int64(i)))
	}
	return files
}

func TestBsdtarReadsNamesAndContents(t *testing.T) {
	bsdtar := prerequisite.Program(t, "bsdtar")
	img := sample()
	img.Files = append(img.Files, hardNames()...)
	dir := t.TempDir()
	output(t, bsdtar, "-x", "-C", dir, "-f", build(t, img))
	compareTree(t, dir, img.Files)
	info, err := os.Stat(filepath.Join(dir, "masthead/pack"))
	if err != nil {
		t.Fatal(err)
	}
	if !info.ModTime().Equal(epoch) || info.Mode() != 0o444 {
		t.Errorf("pack has time %v and mode %v", info.ModTime(), info.Mode())
	}
}

func TestDiskfsReads(t *testing.T) {
	disk, err := diskfs.Open(build(t, sample()), diskfs.WithOpenMode(diskfs.ReadOnly))
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
	r, err := fs.OpenFile("/masthead/pack", os.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, contents("masthead/pack", 3_000_001)) {
		t.Error("pack has the wrong contents")
	}
}

// compareTree wants exactly the given files below dir, besides the loader's.
func compareTree(t *testing.T, dir string, files []File) {
	t.Helper()
	want := make(map[string]string)
	for _, f := range files {
		want[f.Path] = fmt.Sprintf("%x", sha256.Sum256(contents(f.Path, f.Size)))
	}
	got := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || d.IsDir() || strings.HasPrefix(rel, isolinuxDir) {
			return err
		}
		b, err := os.ReadFile(path)
		got[rel] = fmt.Sprintf("%x", sha256.Sum256(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files and digests (-want +got):\n%s", diff)
	}
}

func TestSameBytesTwice(t *testing.T) {
	digest := func(img Image) [32]byte {
		b, err := os.ReadFile(build(t, img)) // each time in a folder of its own
		if err != nil {
			t.Fatal(err)
		}
		return sha256.Sum256(b)
	}
	first := digest(sample())
	img := sample()
	slices.Reverse(img.Files)
	img.Epoch = img.Epoch.In(time.FixedZone("elsewhere", 7200))
	if digest(img) != first {
		t.Error("the bytes depend on the order of files or the time zone")
	}
	for name, change := range map[string]func(*Image){
		"identity":  func(i *Image) { i.Identity = "other" },
		"epoch":     func(i *Image) { i.Epoch = i.Epoch.Add(time.Hour) },
		"volume ID": func(i *Image) { i.VolumeID = "OTHER" },
	} {
		img := sample()
		change(&img)
		if digest(img) == first {
			t.Errorf("another %s gives the same bytes", name)
		}
	}
}
