package cluster

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"testing"
	"time"

	"masthead/images"
	"masthead/vmtest"
	"masthead/vmtest/qemu"
)

// TestVMMasterMaker makes a blank machine, which boots from the network, the second head of a cluster, with a serial cable
// between the two. Then the new head starts again, from its own disk, with what it was given.
func TestVMMasterMaker(t *testing.T) {
	turn := awaitTurn(t, timed, 2)
	c := turn.start(t, vmtest.Config{
		Name:   "maker",
		Cables: []vmtest.Pair{{Ends: [2]string{"head1", "b"}}},
		Machines: map[string]vmtest.MachineConfig{
			"head1": {Role: string(images.RoleHead), Memory: 512, Boot: vmtest.Boot{qemu.FromCD}, ISO: iso(t, smallHead(t, "small", "one", smallInit)),
				OEM: []string{images.KeyIP + "=10.77.0.1/24", images.KeyPanic + "=1"}, Forward: map[string]int{HTTPS: 443}},
			"b": {Role: string(images.RoleWorker), Memory: 512, Boot: vmtest.Boot{qemu.FromDisk, qemu.FromNetwork},
				Disks: []vmtest.DiskConfig{{Size: 3 << 30}}, OEM: []string{images.KeyPanic + "=1"}},
		},
	})
	c.awaitHead(t, "head1")
	mac := c.Machine("b").MAC(0)
	command := "masthead master-maker " + mac + " --name head2 --address 10.77.0.2/24"
	t.Run("refused", func(t *testing.T) {
		for flags, want := range map[string]string{
			"--name head1 --address 10.77.0.2/24": "a head named head1 is in the cluster already",
			"--name head2 --address 10.77.0.1/24": "head head1 has the address 10.77.0.1",
			"--name head2 --address 10.78.0.2/24": "is not in the cluster's network 10.77.0.0/24",
			"--name head2":                        "the new head needs an address",
		} {
			if out, status := c.sh(t, "head1", "masthead master-maker "+mac+" --yes "+flags); status != "1" || !contains(out, want, "try: masthead master-maker "+mac) {
				t.Errorf("%s: exit status %s:\n%s", flags, status, out)
			}
		}
		if out := c.mustSh(t, "head1", "masthead node list"); contains(out, mac) {
			t.Errorf("a refused run has left a node:\n%s", out)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		long(t) // TestRun and TestRunInterrupted of appliance/maker break steps off
		c.enter(t, "head1", command+" --yes; echo ma\"de-$?-\"")
		must(t, c.PowerOn(t.Context(), "b"))
		c.expect(t, "b", bootTime, `copy: .*[1-9][0-9] %`)
		must(t, c.PowerCut("b"))
		began := time.Now()
		out := c.expect(t, "head1", bootTime, `(?s)^(.*)made-(\d+)-`)
		t.Logf("%.0f s after the power cut:\n%s", time.Since(began).Seconds(), out[1])
		if out[2] != "1" || !contains(out[1], "this head is as it was", "try: masthead master-maker "+mac) {
			t.Errorf("exit status %s", out[2])
		}
		if heads := c.mustSh(t, "head1", "masthead head list"); contains(heads, "head2") {
			t.Errorf("a half-made head is in the cluster:\n%s", heads)
		}
	})
	t.Run("a blank machine", func(t *testing.T) {
		c.mustSh(t, "head1", "echo cloned > /etc/cloned; rm /etc/mark")
		began := time.Now()
		c.enter(t, "head1", command+" --yes; echo ma\"de-$?-\"")
		must(t, c.PowerOn(t.Context(), "b"))
		c.expect(t, "b", bootTime, `this machine is being installed as head head2`)
		c.expect(t, "b", bootTime, `copy: read back +25 %`)
		out := c.expect(t, "head1", 2*bootTime, `(?s)^(.*)made-(\d+)-`)
		t.Logf("%.0f s:\n%s", time.Since(began).Seconds(), out[1])
		if out[2] != "0" {
			t.Fatalf("exit status %s", out[2])
		}
		c.isHead(t)
		if out := c.mustSh(t, "head1", "masthead cluster show"); !contains(out, "head1: {serial: [{device: /dev/ttyS1}]}", "head2: {serial: [{device: /dev/ttyS1}]}") {
			t.Errorf("the serial cable is not in the configuration:\n%s", out)
		}
	})
	t.Run("starts again", func(t *testing.T) {
		must(t, c.PowerCut("b"))
		must(t, c.PowerOn(t.Context(), "b"))
		c.expect(t, "b", bootTime, `slot a standing=good`)
		c.isHead(t)
	})
}

// isHead waits until head2 is a whole head of the cluster.
func (c *trial) isHead(t *testing.T) {
	t.Helper()
	eventually(t, bootTime, "head2 is a head", func(ctx context.Context) error {
		heads, err := c.head.Heads(ctx)
		if err != nil {
			return err
		}
		for _, h := range heads {
			if h.Name == "head2" && h.Alive && h.Equal {
				return nil
			}
		}
		return fmt.Errorf("%+v", heads)
	})
	n, err := c.head.Node(t.Context(), "head2")
	must(t, err)
	if n.Attrs["role"] != string(images.RoleHead) || n.Address.String() != "10.77.0.2" {
		t.Errorf("the node head2: %+v", n)
	}
	eventually(t, bootTime, "head2 obeys", func(ctx context.Context) error {
		out, err := Shell(ctx, c.head, "head2", "hostname; date; cat /proc/cmdline; cat /etc/cloned /etc/mark /etc/hostname; ls "+images.StateDir+"/credentials; masthead slot list; mount", nil, replyTime)
		if err == nil && (!contains(out, "masthead.slot=a", "masthead.name=head2", "masthead.ip=10.77.0.2/24", "overlay/a/upper", "cloned\n", "head2\n", "/etc/mark: no such file") || !regexp.MustCompile(`a +runs, starts +small`).MatchString(out) || contains(out, images.CredentialJoin+"\n")) {
			err = errors.New(out)
		}
		return err
	})
}

// TestVMMasterMakerSSH makes a server that runs some Linux from its disk a head, over SSH and by kexec: what is on its disk is
// given up only for its serial number, and its SSH host key stays.
func TestVMMasterMakerSSH(t *testing.T) {
	long(t)
	turn := awaitTurn(t, timed, 2)
	const password = "open-sesame"
	linux, fingerprint := linuxISO(t, "10.77.0.9/24", password)
	c := turn.start(t, vmtest.Config{
		Name: "makerssh",
		Machines: map[string]vmtest.MachineConfig{
			"head1": {Role: string(images.RoleHead), Memory: 512, Boot: vmtest.Boot{qemu.FromCD}, ISO: iso(t, smallHead(t, "small", "one", smallInit)),
				OEM: []string{images.KeyIP + "=10.77.0.1/24", images.KeyPanic + "=1"}, Forward: map[string]int{HTTPS: 443}},
			"b": {Role: string(images.RoleWorker), Memory: 768, Boot: vmtest.Boot{qemu.FromDisk, qemu.FromCD}, ISO: linux,
				Disks: []vmtest.DiskConfig{{Size: 3 << 30, Label: "precious"}}, OEM: []string{images.KeyPanic + "=1"}},
		},
	})
	must(t, c.PowerOn(t.Context(), "b"))
	c.awaitHead(t, "head1")
	c.expect(t, "b", bootTime, `a Linux with SSH is up`)
	c.mustSh(t, "head1", "echo "+password+" > /tmp/password")
	command := "masthead master-maker 10.77.0.9 --password-file /tmp/password --name head2 --no-serial --yes "
	for _, tt := range []struct{ flags, want, try string }{
		{"", "its host key " + fingerprint + " is not known to this head: nobody is there to confirm it", "--host-key SHA256:…"},
		{"--host-key " + fingerprint, "no disk is blank", "masthead master-maker 10.77.0.9 --disk DISK --erase SERIAL"},
		{"--disk vda", "/dev/vda of 10.77.0.9 is not blank, and all of it would be lost: ext2/3/4 precious", "--erase 'vda'"},
	} {
		if out, status := c.sh(t, "head1", command+tt.flags+" < /dev/null"); status != "1" || !contains(out, tt.want, tt.try) {
			t.Fatalf("%s: exit status %s:\n%s", tt.flags, status, out)
		}
	}
	if out := c.mustSh(t, "head1", command+"--disk vda --erase vda --dry-run"); !contains(out, "10.77.0.9 becomes head head2, 10.77.0.9/24", "keeps its SSH host key", fingerprint, "nothing was changed") {
		t.Errorf("what would be done:\n%s", out)
	}
	began := time.Now()
	c.enter(t, "head1", command+"--disk vda --erase vda; echo ma\"de-$?-\"")
	out := c.expect(t, "head1", 2*bootTime, `(?s)^(.*)made-(\d+)-`)
	t.Logf("%.0f s:\n%s", time.Since(began).Seconds(), out[1])
	if out[2] != "0" {
		t.Fatalf("exit status %s", out[2])
	}
	key, err := Shell(t.Context(), c.head, "head2", "cat /etc/ssh/ssh_host_ed25519_key.pub; cat /proc/cmdline", nil, replyTime)
	if err != nil || !contains(key, " serverb", "masthead.ip=10.77.0.9/24") {
		t.Errorf("%v: %s", err, key)
	}
	if left := c.mustSh(t, "head1", "ls /var/lib/masthead/maker"); contains(left, "10.77.0.9") {
		t.Errorf("the journal, with the host keys, is still there:\n%s", left)
	}
}
