package iso

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/builder/loader"
	"masthead/builder/uki"
	"masthead/images/esp"
)

// bootLimit is for one boot under software emulation on a busy machine; it
// takes 10 to 20 s on an idle one.
const bootLimit = 3 * time.Minute

func memory(b []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

// bootable is an image like the real one: kernel and initramfs are stored once,
// inside of the unified kernel image, and are files of the tree as well.
func bootable(t testing.TB, g guest) (Image, map[string][]byte) {
	t.Helper()
	root := "/"
	if r := os.Getenv("MASTHEAD_LOADERS"); r != "" {
		root = r // to try the loaders of another release
	}
	stub, err := loader.Find(root, loader.Stub)
	if err != nil {
		t.Fatal(err)
	}
	kernel, err := uki.Plan(uki.Image{
		Stub:      stub[loader.Stub],
		OSRelease: "ID=masthead\n",
		Cmdline:   "console=ttyS0 panic=-1 test.loader=stub",
		Kernel:    uki.Source{Size: int64(len(g.kernel)), Open: memory(g.kernel)},
		Initramfs: uki.Source{Size: int64(len(g.initramfs)), Open: memory(g.initramfs)},
	})
	if err != nil {
		t.Fatal(err)
	}
	shared := func(path, section string) File {
		s, ok := kernel.Section(section)
		if !ok {
			t.Fatalf("no section %s", section)
		}
		return File{Path: path, Size: s.Size, Shared: &Shared{Path: esp.BootX64, Offset: s.Offset}}
	}
	bios := realBIOS(t)
	for i := range bios.Menu.Entries {
		bios.Menu.Entries[i].Append += " panic=-1 test.loader=isolinux"
	}
	files := hardNames()
	want := map[string][]byte{"boot/vmlinuz": g.kernel, "boot/initramfs": g.initramfs}
	for _, f := range files {
		want[f.Path] = contents(f.Path, f.Size)
	}
	return Image{
		VolumeID: "MASTHEAD",
		Epoch:    epoch,
		Files:    append(files, shared("boot/vmlinuz", ".linux"), shared("boot/initramfs", ".initrd")),
		BIOS:     bios,
		ESP:      []File{{Path: esp.BootX64, Size: kernel.Size, Open: kernel.Open}},
	}, want
}

// TestVMBootsEveryWay boots one file as CD and as disk, by BIOS and by UEFI. The
// guest says which firmware and loader it came by and what it reads on the medium.
func TestVMBootsEveryWay(t *testing.T) {
	if os.Getenv("MASTHEAD_VM") == "" {
		t.Skip("set MASTHEAD_VM=1 to boot virtual machines")
	}
	img, files := bootable(t, newGuest(t))
	iso := build(t, img)

	var (
		cdrom  = []string{"-drive", "media=cdrom,if=ide,readonly=on,format=raw,file=" + iso}
		virtio = []string{"-drive", "if=virtio,readonly=on,format=raw,file=" + iso}
		usb    = []string{"-drive", "if=none,id=stick,readonly=on,format=raw,file=" + iso,
			"-device", "qemu-xhci", "-device", "usb-storage,drive=stick"}
	)
	// The cloud kernel has no USB storage: there the boot itself is the test.
	tests := []struct {
		name   string
		uefi   bool
		drive  []string
		medium string
		typed  string // at the prompt of ISOLINUX, over the serial line
	}{
		{"BIOS CD", false, cdrom, "sr0", ""},
		{"BIOS disk", false, virtio, "vda", ""},
		{"BIOS USB", false, usb, "none", ""},
		{"BIOS rescue", false, usb, "none", "rescue\r"},
		{"UEFI CD", true, cdrom, "sr0", ""},
		{"UEFI disk", true, virtio, "vda", ""},
		{"UEFI USB", true, usb, "none", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := append([]string{"-smbios", "type=1,serial=" + tt.medium}, tt.drive...)
			if tt.uefi {
				args = append(args, firmware(t)...)
			}
			report := boot(t, args, tt.typed)

			want := map[string][]string{"firmware": {"bios"}, "cmdline": {"BOOT_IMAGE=/boot/vmlinuz initrd=/boot/initramfs console=ttyS0 panic=-1 test.loader=isolinux"}}
			if tt.uefi {
				want = map[string][]string{"firmware": {"uefi"}, "cmdline": {"console=ttyS0 panic=-1 test.loader=stub"}}
			}
			if tt.typed != "" {
				want["cmdline"][0] += " masthead.rescue"
			}
			if tt.medium != "none" {
				for path, b := range files {
					want["file"] = append(want["file"], fmt.Sprintf("%x %q", sha256.Sum256(b), path))
				}
			}
			if tt.medium == "vda" {
				want["partition"] = []string{strconv.FormatUint(partitionSectors(t, iso), 10)}
			}
			report["file"] = slices.DeleteFunc(report["file"], func(s string) bool { return strings.Contains(s, isolinuxDir) })
			if len(report["file"]) == 0 {
				delete(report, "file")
			}
			slices.Sort(want["file"])
			slices.Sort(report["file"])
			// ISOLINUX puts its own additions where it likes.
			for _, m := range []map[string][]string{want, report} {
				for i, line := range m["cmdline"] {
					m["cmdline"][i] = sortWords(line)
				}
			}
			if diff := cmp.Diff(want, report); diff != "" {
				t.Errorf("the guest reports (-want +got):\n%s", diff)
			}
		})
	}
}

func sortWords(s string) string {
	words := strings.Fields(s)
	slices.Sort(words)
	return strings.Join(words, " ")
}

// partitionSectors is the size of the first partition.
func partitionSectors(t *testing.T, iso string) uint64 {
	t.Helper()
	f, err := os.Open(iso)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	entry := make([]byte, 128)
	if _, err := f.ReadAt(entry, 1024); err != nil {
		t.Fatal(err)
	}
	return le64(entry[40:]) - le64(entry[32:]) + 1
}

// firmware gives the arguments for UEFI with variables of its own.
func firmware(t *testing.T) []string {
	t.Helper()
	vars, err := os.ReadFile("/usr/share/OVMF/OVMF_VARS_4M.fd")
	if err != nil {
		t.Fatalf("%v (Debian package ovmf)", err)
	}
	copied := filepath.Join(t.TempDir(), "vars.fd")
	if err := os.WriteFile(copied, vars, 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{
		"-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd",
		"-drive", "if=pflash,format=raw,file=" + copied,
	}
}

// typist keeps what the console shows and types once when it shows a prompt.
type typist struct {
	bytes.Buffer
	in   io.Writer
	text string
}

func (c *typist) Write(p []byte) (int, error) {
	n, err := c.Buffer.Write(p)
	if err == nil && c.text != "" && bytes.Contains(c.Bytes(), []byte("boot:")) {
		_, err = io.WriteString(c.in, c.text)
		c.text = ""
	}
	return n, err
}

// boot runs a machine until the guest has said its last line, and returns what
// it said: values by key, of the lines "GUEST key value". What is typed goes to
// the first prompt.
func boot(t *testing.T, args []string, typed string) map[string][]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", append([]string{
		"-accel", "tcg", "-m", "512", "-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio",
	}, args...)...)
	var faults bytes.Buffer
	cmd.Stderr = &faults
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	console := typist{in: in, text: typed}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (Debian package qemu-system-x86)", err)
	}
	report, ended := make(map[string][]string), false
	for lines := bufio.NewScanner(io.TeeReader(out, &console)); !ended && lines.Scan(); {
		_, line, ok := strings.Cut(strings.TrimSpace(lines.Text()), "GUEST ")
		if !ok {
			continue
		}
		key, value, _ := strings.Cut(line, " ")
		if key == "end" {
			ended = true
			continue
		}
		report[key] = append(report[key], value)
	}
	cancel() // it powers off by itself, but nothing more is of interest
	_ = cmd.Wait()
	if !ended {
		t.Fatalf("no end of the guest's report within %v\n%s\n%s\n%s", time.Since(start), cmd, faults.String(), console.String())
	}
	t.Logf("booted and reported in %.1f s", time.Since(start).Seconds())
	return report
}
