package disk

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/builder/grub"
	"masthead/builder/iso"
	"masthead/builder/loader"
	"masthead/images/disk"
	"masthead/vmtest/prerequisite"
)

const isoContents = 3*mib + 17

func sample(t testing.TB) Image {
	t.Helper()
	body := bytes.Repeat([]byte("pack."), isoContents/5+1)[:isoContents]
	clear(body[mib : 2*mib])
	slot, err := iso.Plan(iso.Image{VolumeID: "MASTHEAD", Epoch: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Files: []iso.File{
		{Path: "masthead/pack", Size: isoContents, Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return Image{Identity: "sample", Slot: slot, Config: disk.Config{Serial: true, Timeout: 2}, Loader: realLoader(t)}
}

// realLoader is that of this machine's packages.
func realLoader(t testing.TB) disk.Loader {
	t.Helper()
	found, err := loader.Find("/", loader.GRUBBoot, loader.Shim, loader.GRUB, loader.Mok)
	if err == nil {
		var core []byte
		core, err = grub.Core(os.DirFS("/"+grub.Dir), grub.Config{Prefix: disk.GRUBPrefix, Modules: disk.GRUBModules()})
		if err == nil {
			return disk.Loader{Boot: found[loader.GRUBBoot], Core: core, Shim: found[loader.Shim], Grub: found[loader.GRUB], MokManager: found[loader.Mok]}
		}
	}
	var missing *loader.MissingError
	if errors.As(err, &missing) {
		prerequisite.Missing(t, "the loaders: %v; try: %s", err, missing.Try())
	}
	t.Fatal(err)
	return disk.Loader{}
}

func write(t testing.TB, img Image) (string, *Layout) {
	t.Helper()
	l, err := Plan(img)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "disk.img")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var done int64
	if err := l.Write(t.Context(), f, func(n, _ int64) { done = n }); err != nil {
		t.Fatal(err)
	}
	if done != img.Slot.Size {
		t.Errorf("progress ends at %d of %d", done, img.Slot.Size)
	}
	return file, l
}

// Foreign programs find the table, the ESP and the ISO whole; what holds nothing takes no room on the build host.
func TestForeignReaders(t *testing.T) {
	img := sample(t)
	file, l := write(t, img)
	out, err := exec.Command(prerequisite.Program(t, "sgdisk"), "-v", file).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "No problems found") {
		t.Errorf("sgdisk -v: %v\n%s", err, out)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(file, &st); err != nil {
		t.Fatal(err)
	}
	if st.Size != MinSize(img.Slot.Size) || st.Blocks*512 > 16*mib {
		t.Errorf("the image has %d bytes and takes %d", st.Size, st.Blocks*512)
	}
	blkid := prerequisite.Program(t, "blkid")
	for _, p := range l.Table.Partitions {
		part := filepath.Join(t.TempDir(), p.Name)
		cut(t, file, part, p)
		out, _ := exec.Command(blkid, "-p", "-o", "export", part).Output()
		got := map[string]string{}
		for _, line := range strings.Fields(string(out)) {
			key, value, _ := strings.Cut(line, "=")
			if key == "TYPE" || key == "LABEL" {
				got[key] = value
			}
		}
		want := map[string]map[string]string{
			disk.NameESP: {"TYPE": "vfat", "LABEL": "ESP"}, disk.NameA: {"TYPE": "iso9660", "LABEL": "MASTHEAD"},
		}[p.Name]
		if diff := cmp.Diff(want, got); diff != "" && len(want)+len(got) > 0 {
			t.Errorf("blkid of %s (-want +got):\n%s", p.Name, diff)
		}
		if p.Name == disk.NameESP {
			if out, err := exec.Command(prerequisite.Program(t, "fsck.vfat"), "-n", "-v", part).CombinedOutput(); err != nil {
				t.Errorf("fsck.vfat: %v\n%s", err, out)
			}
		}
		if p.Name == disk.NameA {
			checkSlot(t, part, img.Slot)
		}
	}
}

// checkSlot compares the slot with the ISO, byte for byte.
func checkSlot(t *testing.T, part string, slot *iso.Layout) {
	t.Helper()
	var want bytes.Buffer
	if err := slot.Write(t.Context(), &want); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(part)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got[:want.Len()], want.Bytes()) {
		t.Error("slot a does not hold the bytes of the ISO")
	}
}

func cut(t *testing.T, file, to string, p disk.Partition) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if p.Size > 256*mib { // blank; the sparse end is enough to say so
		p.Size = mib
	}
	if _, err := io.Copy(out, io.NewSectionReader(f, p.First, p.Size)); err != nil {
		t.Fatal(err)
	}
}

func TestSameInputSameBytes(t *testing.T) {
	img := sample(t)
	first, _ := write(t, img)
	second, _ := write(t, img)
	if out, err := exec.Command("cmp", first, second).CombinedOutput(); err != nil {
		t.Errorf("two images of the same differ: %s", out)
	}
	img.Identity = "another"
	a, err := Plan(sample(t))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Plan(img)
	if err != nil {
		t.Fatal(err)
	}
	if a.Table.GUID == b.Table.GUID {
		t.Error("two different images have one GUID")
	}
}

func TestPlanSizes(t *testing.T) {
	img := sample(t)
	for _, size := range []int64{MinSize(img.Slot.Size), MinSize(img.Slot.Size) + mib + 5, 5 * gib, 16 * gib, 300 * gib} {
		img.Size = size
		l, err := Plan(img)
		if err != nil {
			t.Errorf("%d MiB: %v", size/mib, err)
			continue
		}
		if slot, _ := l.Table.Slot(disk.SlotA); slot.Size < img.Slot.Size {
			t.Errorf("%d MiB: a slot of %d bytes for an ISO of %d", size/mib, slot.Size, img.Slot.Size)
		}
	}
	img.Size = gib
	var small *disk.TooSmallError
	if _, err := Plan(img); !errors.As(err, &small) {
		t.Errorf("a disk of 1 GiB: got error %v", err)
	}
}
