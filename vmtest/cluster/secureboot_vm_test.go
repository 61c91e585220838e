package cluster

import (
	"context"
	"os/exec"
	"path/filepath"
	"testing"

	"masthead/images"
	"masthead/node/wire"
	"masthead/vmtest"
	"masthead/vmtest/qemu"
)

// TestVMSecureBoot starts a head from its ISO and a worker from the network on firmware that has Microsoft's keys and
// Secure Boot on, and the worker once more by kexec, whose kernel is then checked too.
func TestVMSecureBoot(t *testing.T) {
	long(t)
	turn := awaitTurn(t, untimed, 2)
	c := turn.start(t, vmtest.Config{
		Name: "secureboot",
		Machines: map[string]vmtest.MachineConfig{
			"head1": {Role: string(images.RoleHead), Memory: 448, Firmware: qemu.SecureBoot, ISO: iso(t, definition(t, "head-minimal")),
				Forward: map[string]int{HTTPS: 443, plainHTTP: 80}},
			"n01": {Role: string(images.RoleWorker), Memory: 448, Firmware: qemu.SecureBoot, Boot: vmtest.Boot{qemu.FromNetwork}},
		},
	})
	secure := func(t *testing.T, machine string) {
		t.Helper()
		if on, said := c.secureBoot(t, machine); !on {
			t.Errorf("%s runs without Secure Boot:\n%s", machine, said)
		}
	}
	c.awaitHead(t, "head1")
	c.awaitUp(t, "head1", "head1", "")
	secure(t, "head1")

	must(t, c.Register(t.Context(), c.head, "n01", wire.NodeChange{}))
	why := c.awaitUp(t, "n01", "n01", "")
	checkStages(t, why, byLoader...)
	if got := why.Node.Inventory.SecureBoot; got != wire.SecureBootOn {
		t.Errorf("n01 says that Secure Boot is %q", got)
	}
	secure(t, "n01")

	console := c.Machine("n01").Console.ReaderFromHere()
	c.enter(t, "n01", "masthead reboot --kexec")
	ctx, cancel := context.WithTimeout(t.Context(), bootTime)
	defer cancel()
	if _, err := console.Expect(ctx, `Linux version`); err != nil {
		t.Fatalf("kexec of n01: %v", err)
	}
	why = c.awaitUp(t, "n01", "n01", why.Boot)
	checkStages(t, why) // none of the firmware's
}

// TestVMOwnKeys installs a head from an ISO that its owner has signed, with the shim of its disk, on firmware that knows the
// owner's key alone. An ISO that somebody else has signed, be it Microsoft and the distribution, is not started there.
func TestVMOwnKeys(t *testing.T) {
	long(t)
	turn := awaitTurn(t, untimed, 2)
	const snakeoil = "/usr/share/ovmf/PkKek-1-snakeoil" // Debian's: its passphrase is its name
	key := filepath.Join(t.TempDir(), "own.key")
	if out, err := exec.Command("openssl", "pkey", "-in", snakeoil+".key", "-passin", "pass:snakeoil", "-out", key).CombinedOutput(); err != nil {
		t.Fatalf("openssl: %v: %s", err, out)
	}
	folder, small := t.TempDir(), smallHead(t, "small", "one", smallInit)
	build(t, "iso", small, "--sign-key", key, "--sign-cert", snakeoil+".pem", "--sign-shim", "-o", folder)
	foreign := iso(t, small)
	c := turn.start(t, vmtest.Config{Name: "ownkeys", Machines: map[string]vmtest.MachineConfig{
		"head1": {Role: string(images.RoleHead), Memory: 512, Firmware: qemu.OwnKeys, Boot: vmtest.Boot{qemu.FromDisk, qemu.FromCD},
			ISO: filepath.Join(folder, "small.iso"), Disks: []vmtest.DiskConfig{{Size: 3 << 30}},
			OEM: []string{images.KeyIP + "=10.77.0.1/24", images.KeyPanic + "=1"}, OEMFiles: []string{installFile(t, installAnswers)}},
		"foreign": {Role: string(images.RoleHead), Memory: 448, Firmware: qemu.OwnKeys, Boot: vmtest.Boot{qemu.FromCD}, ISO: foreign},
	}})
	c.expect(t, "foreign", bootTime, `Access Denied|Security Violation`)
	must(t, c.PowerCut("foreign")) // the other one gets its processor
	c.expect(t, "head1", 2*bootTime, `installed: head head1 on /dev/vda`)
	c.expect(t, "head1", bootTime, `masthead\.slot=a masthead\.medium=`)
	c.expect(t, "head1", bootTime, ` handover: `)
	if on, said := c.secureBoot(t, "head1"); !on {
		t.Errorf("head1 runs from its disk without Secure Boot:\n%s", said)
	}
}

// secureBoot asks the kernel of a minimal image whether the firmware checked it, and whether it is locked down for that.
func (c *trial) secureBoot(t *testing.T, machine string) (on bool, said string) {
	t.Helper()
	said, _ = c.sh(t, machine, "dmesg | grep -E 'secureboot:|locked down'")
	return contains(said, "secureboot: Secure boot enabled", "Kernel is locked down from EFI Secure Boot"), said
}
