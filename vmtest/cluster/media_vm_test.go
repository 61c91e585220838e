package cluster

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"masthead/images"
	"masthead/vmtest"
	"masthead/vmtest/qemu"
)

// TestVMMedia starts the ISO in the three ways that TestVMCluster does not, and one that was not copied whole. The stick of
// TestVMDebian is a disk too: the kernel of the minimal images has no USB.
func TestVMMedia(t *testing.T) {
	turn := awaitTurn(t, untimed, 1)
	file := iso(t, definition(t, "head-minimal"))
	head := func(name string, firmware qemu.Firmware, source qemu.Source, bus qemu.Bus) vmtest.MachineConfig {
		m := vmtest.MachineConfig{Role: string(images.RoleHead), Memory: 384, Firmware: firmware, Off: true, Boot: vmtest.Boot{source},
			OEM: []string{images.KeyName + "=" + name, images.KeyIP + "=" + string(images.IPNone), images.KeyPanic + "=1"}}
		if source == qemu.FromCD {
			m.ISO = file
		} else {
			m.Disks = []vmtest.DiskConfig{{Path: file, Bus: bus, ReadOnly: true}}
		}
		return m
	}
	torn := head("torn", qemu.BIOS, qemu.FromDisk, qemu.Virtio)
	torn.Disks[0].Path, torn.NoReboot = tornCopy(t, file), true
	c := turn.start(t, vmtest.Config{
		Name: "media",
		Machines: map[string]vmtest.MachineConfig{
			"bios-disk": head("bios-disk", qemu.BIOS, qemu.FromDisk, qemu.Virtio),
			"uefi-cd":   head("uefi-cd", qemu.UEFI, qemu.FromCD, ""),
			"uefi-disk": head("uefi-disk", qemu.UEFI, qemu.FromDisk, qemu.Virtio),
			"torn":      torn,
		},
	})
	names := []string{"bios-disk"}
	if isLong() {
		names = append(names, "uefi-cd", "uefi-disk") // TestVMInstallFirmware starts from its CD that way, then from its disk
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			must(t, c.PowerOn(t.Context(), name))
			c.expect(t, name, bootTime, ` medium: /dev/`)
			c.expect(t, name, bootTime, ` handover: `)
			eventually(t, replyTime, name+" is a head", func(context.Context) error {
				out, status := c.sh(t, name, "masthead status")
				if status != "0" || !contains(out, name, "sha256:", "worker-minimal") {
					return fmt.Errorf("status %s:\n%s", status, out)
				}
				return nil
			})
			must(t, c.PowerCut(name))
		})
	}
	t.Run("torn", func(t *testing.T) {
		must(t, c.PowerOn(t.Context(), "torn"))
		c.expect(t, "torn", bootTime, `(?s)\*\*\* boot failed at stage "medium".*\*\*\* cause: [^\n]*(truncated|shorter)[^\n]*\n.*\*\*\* try: +write the medium again`)
		ctx, cancel := context.WithTimeout(t.Context(), replyTime)
		defer cancel()
		if err := c.Machine("torn").Wait(ctx); err != nil { // it would restart, and is off instead
			t.Error(err)
		}
	})
}

// tornCopy is an ISO whose last tenth is missing, as after a copy that was broken off.
func tornCopy(t *testing.T, file string) string {
	t.Helper()
	from, err := os.Open(file)
	must(t, err)
	defer from.Close()
	st, err := from.Stat()
	must(t, err)
	path := filepath.Join(t.TempDir(), "torn.iso")
	to, err := os.Create(path)
	must(t, err)
	defer to.Close()
	const sector = 2048
	_, err = io.CopyN(to, from, st.Size()/10*9/sector*sector)
	must(t, err)
	must(t, to.Close())
	return path
}
