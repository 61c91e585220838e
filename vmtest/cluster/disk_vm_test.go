package cluster

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"masthead/images"
	"masthead/images/disk"
	"masthead/vmtest"
	"masthead/vmtest/qemu"
)

// TestVMDisk starts the raw image of an installed head by each firmware. The one with a BIOS is told to try slot b,
// which is empty: GRUB notes the trial, fails, and starts slot a.
func TestVMDisk(t *testing.T) {
	turn := awaitTurn(t, untimed, 1)
	image := rawDisk(t, definition(t, "head-minimal"))
	table := readTable(t, image)
	machines := map[string]vmtest.MachineConfig{}
	for name, firmware := range map[string]qemu.Firmware{"bios": qemu.BIOS, "uefi": qemu.UEFI, "secure": qemu.SecureBoot} {
		copied := filepath.Join(t.TempDir(), name+".img")
		if out, err := exec.CommandContext(t.Context(), "cp", "--sparse=always", image, copied).CombinedOutput(); err != nil {
			t.Fatalf("cp: %v\n%s", err, out)
		}
		machines[name] = vmtest.MachineConfig{Role: string(images.RoleHead), Memory: 448, Firmware: firmware, Off: true,
			Disks: []vmtest.DiskConfig{{Path: copied}}, OEM: []string{images.KeyIP + "=" + string(images.IPNone), images.KeyPanic + "=1"}}
	}
	editEnv(t, machines["bios"].Disks[0].Path, table, disk.Env{Slot: disk.SlotA, Try: disk.SlotB})
	c := turn.start(t, vmtest.Config{Name: "disk", Machines: machines})
	slot, _ := table.Slot(disk.SlotA)
	names := []string{"bios"}
	if isLong() {
		names = append(names, "uefi", "secure") // TestVMInstallFirmware starts a disk of the same layout that way
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			must(t, c.PowerOn(t.Context(), name))
			c.expect(t, name, bootTime, `Command line: .*masthead\.slot=a`)
			c.expect(t, name, bootTime, ` medium: /dev/vda3`)
			c.expect(t, name, bootTime, ` handover: `)
			if out := c.mustSh(t, name, "cat /proc/cmdline"); !contains(out, "masthead.slot=a masthead.medium="+slot.UUID) {
				t.Errorf("started with %s", out)
			}
			if secure, said := c.secureBoot(t, name); secure != (name == "secure") {
				t.Errorf("Secure Boot is on: %v\n%s", secure, said)
			}
			must(t, c.PowerCut(name))
			want := disk.Env{Slot: disk.SlotA}
			if name == "bios" {
				want.Tried = disk.SlotB
			}
			if diff := cmp.Diff(want, readEnv(t, machines[name].Disks[0].Path, table)); diff != "" {
				t.Errorf("GRUB's environment (-want +got):\n%s", diff)
			}
		})
	}
}

// rawDisk builds the disk image of a definition.
func rawDisk(t *testing.T, file string, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	build(t, append([]string{"disk", file, "-o", dir}, args...)...)
	return filepath.Join(dir, strings.TrimSuffix(filepath.Base(file), ".yaml")+".img")
}

func readTable(t *testing.T, file string) disk.Table {
	t.Helper()
	f, err := os.Open(file)
	must(t, err)
	defer f.Close()
	st, err := f.Stat()
	must(t, err)
	table, err := disk.ReadTable(f, st.Size(), 512)
	must(t, err)
	return table
}

// findEnv is where GRUB's environment block is on a disk that is not mounted: a cluster of the EFI system partition that
// begins as one. GRUB's programs have that line in them too, elsewhere.
func findEnv(t *testing.T, f *os.File, table disk.Table) int64 {
	t.Helper()
	system, _ := table.Find(disk.NameESP)
	data, err := io.ReadAll(io.NewSectionReader(f, system.First, system.Size))
	must(t, err)
	for at := 0; at < len(data); at += 512 {
		if bytes.HasPrefix(data[at:], []byte("# GRUB Environment Block\n")) {
			return system.First + int64(at)
		}
	}
	t.Fatal("no environment block on the EFI system partition")
	return 0
}

func readEnv(t *testing.T, file string, table disk.Table) disk.Env {
	t.Helper()
	f, err := os.Open(file)
	must(t, err)
	defer f.Close()
	block := make([]byte, 1024)
	_, err = f.ReadAt(block, findEnv(t, f, table))
	must(t, err)
	env, err := disk.ParseEnv(block)
	must(t, err)
	return env
}

func editEnv(t *testing.T, file string, table disk.Table, env disk.Env) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	_, err = f.WriteAt(env.Block(), findEnv(t, f, table))
	must(t, err)
}
