package cluster

import (
	"fmt"
	"testing"

	"masthead/images"
	"masthead/vmtest"
	"masthead/vmtest/qemu"
)

// TestVMInstallFirmware installs three machines from one ISO: one with a BIOS, one with UEFI, and one with UEFI that has
// Microsoft's keys and Secure Boot on. Each starts from its disk then.
func TestVMInstallFirmware(t *testing.T) {
	turn := awaitTurn(t, untimed, 1)
	medium := iso(t, smallHead(t, "small-firmware", "one", smallInit, "mokutil"))
	firmwares := []qemu.Firmware{qemu.SecureBoot}
	if isLong() { // TestVMInstall has a BIOS, and UEFI goes the same way without Secure Boot
		firmwares = append(firmwares, qemu.BIOS, qemu.UEFI)
	}
	names := map[qemu.Firmware]string{qemu.BIOS: "bios", qemu.UEFI: "uefi", qemu.SecureBoot: "secure"}
	config := vmtest.Config{Name: "firmware", Machines: map[string]vmtest.MachineConfig{}}
	for _, f := range firmwares {
		// Each has a network of its own: they are three clusters, whose heads have the same address.
		name := names[f]
		config.Switches = append(config.Switches, name)
		config.Machines[name] = vmtest.MachineConfig{Role: string(images.RoleHead), Memory: 512, Firmware: f, Off: true,
			Boot: vmtest.Boot{qemu.FromDisk, qemu.FromCD}, ISO: medium, Disks: []vmtest.DiskConfig{{Size: 3 << 30}}, NICs: []vmtest.NICConfig{{Switch: name}},
			OEM: []string{images.KeyIP + "=10.77.0.1/24", images.KeyPanic + "=1"}, OEMFiles: []string{installFile(t, installAnswers)}}
	}
	c := turn.start(t, config)
	for _, f := range firmwares {
		name, secure := names[f], f == qemu.SecureBoot
		t.Run(name, func(t *testing.T) {
			must(t, c.PowerOn(t.Context(), name))
			c.expect(t, name, 2*bootTime, `installed: head head1 on /dev/vda`)
			c.expect(t, name, bootTime, `masthead\.slot=a masthead\.medium=`)
			c.expect(t, name, bootTime, `slot a standing=good`)
			c.expect(t, name, bootTime, ` handover: `)
			on, said := c.secureBoot(t, name)
			if on != secure {
				t.Errorf("Secure Boot is on: %v\n%s", on, said)
			}
			out := c.mustSh(t, name, "cat /etc/os-release; masthead slot list; ls /sys/firmware")
			if uefi := f != qemu.BIOS; !contains(out, "small one", "runs, starts") || contains(out, "efi") != uefi {
				t.Errorf("started from its disk:\n%s", out)
			}
			if secure {
				out := c.mustSh(t, name, "modprobe efivarfs && mount -t efivarfs efivarfs /sys/firmware/efi/efivars && mokutil --sb-state")
				if !contains(out, "SecureBoot enabled") {
					t.Errorf("mokutil --sb-state:\n%s", out)
				}
				said += out
			}
			t.Logf("installed and started from its disk:\n%s", fmt.Sprint(said, out))
			must(t, c.PowerCut(name))
		})
	}
}
