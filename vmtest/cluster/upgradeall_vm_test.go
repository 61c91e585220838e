package cluster

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"masthead/images"
	"masthead/vmtest"
	"masthead/vmtest/qemu"
)

// upgradePair is the configuration of two heads with a serial cable. On a host that is short of processors the watchdog
// would end a machine in the middle of the copy.
const upgradePair = `name: test
vips: [{address: 10.77.0.100/24}]
heads:
  head1: {serial: [{device: /dev/ttyS1}], fence: [[{device: controller1}]]}
  head2: {serial: [{device: /dev/ttyS1}], fence: [[{device: controller2}]]}
fence_devices:
  - {name: controller1, agent: qmp, params: {address: "${management.head1}"}}
  - {name: controller2, agent: qmp, params: {address: "${management.head2}"}}
watchdog: {off: true}
`

// TestVMUpgradeAll upgrades two installed heads by one command on the owner. The first image does not come up: the standby
// falls back, and the command stops there. The second does, on one head after the other, with a planned switch between them.
func TestVMUpgradeAll(t *testing.T) {
	turn := awaitTurn(t, fenced, 2)
	image := smallDisk(t, smallHead(t, "small", "one", smallInit))
	good := iso(t, smallHead(t, "small-all", "two", smallInit))
	hangs := iso(t, smallHead(t, "small-hangs", "three", hangsInit))
	head := func(name string, more ...vmtest.DiskConfig) vmtest.MachineConfig {
		own := filepath.Join(t.TempDir(), name+".img")
		if out, err := exec.CommandContext(t.Context(), "cp", "--sparse=always", image, own).CombinedOutput(); err != nil {
			t.Fatalf("cp: %v\n%s", err, out)
		}
		return vmtest.MachineConfig{Role: string(images.RoleHead), Memory: 512, Boot: vmtest.Boot{qemu.FromDisk},
			Disks: append([]vmtest.DiskConfig{{Path: own}}, more...), Management: -1, OEM: []string{images.KeyPanic + "=1"}, Forward: map[string]int{HTTPS: 443}}
	}
	disk := func(path string) vmtest.DiskConfig {
		return vmtest.DiskConfig{Path: path, Bus: qemu.Virtio, ReadOnly: true}
	}
	c := turn.start(t, vmtest.Config{
		Name: "upgradeall", Cluster: upgradePair, Cables: []vmtest.Pair{{Ends: [2]string{"head1", "head2"}}},
		Machines: map[string]vmtest.MachineConfig{"head1": head("head1", disk(good), disk(hangs)), "head2": head("head2")},
	})
	c.awaitHead(t, "head1")
	ctx, cancel := context.WithTimeout(t.Context(), bootTime)
	defer cancel()
	must(t, c.Join(ctx, c.head, "head2"))
	must(t, c.Configure(ctx, c.head))
	c.ownedBy(t, "head1")

	t.Run("an image that hangs", func(t *testing.T) {
		long(t) // TestVMInstall has an image that panics, and falls back too
		c.begin(t, "head1", "masthead upgrade /dev/vdc --all --yes --deadline 10s")
		out, status := c.finish(t, "head1", 2*bootTime)
		if status != "1" || !contains(out, "head2: restarts", "head head2: the new image", "head1 is as it was") {
			t.Errorf("exit status %s:\n%s", status, out)
		}
		t.Logf("the command said:\n%s", out)
		c.expect(t, "head2", replyTime, `the slot on trial was not found healthy in time: restart`)
		c.expect(t, "head2", replyTime, `slot a standing="fell back"`)
		out = c.cli(t, "head", "list", "-l")
		if !regexp.MustCompile(`head1 .* a `).MatchString(out) || !regexp.MustCompile(`head2 .* a `).MatchString(out) || contains(out, "DIFFERS") {
			t.Errorf("after an upgrade that stopped:\n%s", out)
		}
	})
	t.Run("a good image", func(t *testing.T) {
		c.begin(t, "head1", "masthead upgrade /dev/vdb --all --yes")
		c.expect(t, "head1", bootTime, `head2: restarts`)
		var differ string
		eventually(t, bootTime, "the heads differ", func(context.Context) error {
			if differ = c.cli(t, "head", "list", "-l"); !contains(differ, "DIFFERS", "small one on head1", "small two on head2") {
				return fmt.Errorf("head list -l:\n%s", differ)
			}
			return nil
		})
		t.Logf("half way:\n%s", differ)
		c.expect(t, "head1", bootTime, `head2: runs image [0-9a-f]+, and is healthy`)
		c.expect(t, "head1", bootTime, `head2 owns the cluster, epoch`)
		c.expect(t, "head1", bootTime, `restarts into slot b`)
		c.expect(t, "head1", bootTime, `slot b standing="on trial"`)
		c.expect(t, "head1", bootTime, `slot b is healthy, after`)
		c.awaitHead(t, "head1")
		out := c.cli(t, "head", "list", "-l")
		if !regexp.MustCompile(`head1 .*small two.* b `).MatchString(out) || !regexp.MustCompile(`head2 .*small two.* b `).MatchString(out) || contains(out, "DIFFERS") {
			t.Errorf("after the upgrade:\n%s", out)
		}
		t.Logf("after the upgrade:\n%s", out)
		c.ownedBy(t, "head2")
	})
}

// ownedBy waits until a head owns the cluster.
func (c *trial) ownedBy(t *testing.T, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), replyTime)
	defer cancel()
	_, err := AwaitOwner(ctx, c.head, name)
	must(t, err)
}

// smallDisk builds the disk image of a definition.
func smallDisk(t *testing.T, file string) string {
	t.Helper()
	dir := t.TempDir()
	build(t, "disk", file, "-o", dir)
	return filepath.Join(dir, "small.img")
}
