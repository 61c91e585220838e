package cluster

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"masthead/images"
	"masthead/vmtest"
	"masthead/vmtest/qemu"
)

// installFile leaves answers for an unattended installation where a machine finds them: among its OEM strings.
func installFile(t *testing.T, answers string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "install.oem")
	must(t, os.WriteFile(file, []byte("masthead.credential."+images.CredentialInstall+"="+answers), 0o600))
	return file
}

const installAnswers = `{disk: auto, name: head1, address: 10.77.0.1/24, vip: 10.77.0.100/24, mail: [admin@example.org], mail_server: "10.77.0.25", password_hash: $6$salt$hash, after: restart}`

// TestVMInstall installs a blank disk from the ISO without anybody there, with a power cut in the middle; starts from the
// disk, which keeps what is written; upgrades it, to an image that is broken, which falls back, and to one that is not.
func TestVMInstall(t *testing.T) {
	turn := awaitTurn(t, untimed, 1)
	medium := iso(t, smallHead(t, "small", "one", smallInit))
	good := iso(t, smallHead(t, "small-two", "two", smallInit))
	broken := iso(t, smallHead(t, "small-broken", "three", brokenInit))
	disk := func(path string) vmtest.DiskConfig {
		return vmtest.DiskConfig{Path: path, Bus: qemu.Virtio, ReadOnly: true}
	}
	c := turn.start(t, vmtest.Config{
		Name: "install",
		Machines: map[string]vmtest.MachineConfig{
			"head1": {Role: string(images.RoleHead), Memory: 512, Boot: vmtest.Boot{qemu.FromDisk, qemu.FromCD}, ISO: medium,
				Disks: []vmtest.DiskConfig{{Size: 3 << 30}, disk(good), disk(broken)},
				OEM:   []string{images.KeyIP + "=10.77.0.1/24", images.KeyPanic + "=1"}, OEMFiles: []string{installFile(t, installAnswers)},
				Forward: map[string]int{HTTPS: 443}},
		},
	})
	t.Run("power cut", func(t *testing.T) {
		c.expect(t, "head1", bootTime, `copy: copy +[2-9][0-9]%`)
		must(t, c.PowerCut("head1"))
		must(t, c.PowerOn(t.Context(), "head1"))
		c.expect(t, "head1", bootTime, `an installation was begun here`)
		c.expect(t, "head1", replyTime, `done +wipe .*\r?\n +done +partition .*\r?\n +will +copy `)
		c.expect(t, "head1", bootTime, `installed: head head1 on /dev/vda`)
	})
	t.Run("from the disk", func(t *testing.T) {
		c.expect(t, "head1", bootTime, `slot a standing=good`)
		c.awaitHead(t, "head1")
		out := c.mustSh(t, "head1", "cat /proc/cmdline; masthead slot list; masthead cluster show; grep root: /etc/shadow; mount")
		if !contains(out, "masthead.slot=a", "runs, starts", "address: 10.77.0.100/24", "to:", "admin@example.org", "root:$6$salt$hash:", "upperdir=/run/masthead/state/overlay/a/upper") {
			t.Errorf("from the disk:\n%s", out)
		}
		// On a host that is short of processors the watchdog would end the owner daemon's machine in the middle of the copy.
		c.mustSh(t, "head1", "echo kept > /root/kept; echo secret > /etc/mark; echo '{vips: [{address: 10.77.0.100/24}], watchdog: {off: true}}' > /root/cluster.yaml; masthead cluster set /root/cluster.yaml; sync")
		must(t, c.PowerCut("head1"))
		must(t, c.PowerOn(t.Context(), "head1"))
		c.awaitHead(t, "head1")
		if out := c.mustSh(t, "head1", "cat /root/kept /etc/mark; masthead cluster show"); !contains(out, "kept", "secret", "10.77.0.100/24") {
			t.Errorf("after a power cut:\n%s", out)
		}
	})
	t.Run("a broken image", func(t *testing.T) {
		c.begin(t, "head1", "masthead upgrade /dev/vdc --yes")
		c.expect(t, "head1", bootTime, `slot b standing="on trial"`)
		c.expect(t, "head1", bootTime, `Kernel panic`)
		c.expect(t, "head1", bootTime, `slot a standing="fell back"`)
		c.awaitHead(t, "head1")
		var out string
		eventually(t, replyTime, "it says so", func(context.Context) error {
			out = c.mustSh(t, "head1", "masthead status; masthead slot list; cat /root/kept /etc/mark")
			if !contains(out, "TROUBLE", "did not come up healthy and fell back to slot a", "kept", "secret") ||
				!regexp.MustCompile(`a +runs, starts +small `).MatchString(out) || !regexp.MustCompile(`b +\S+ +small-broken .*did not come up healthy`).MatchString(out) {
				return fmt.Errorf("status:\n%s", out)
			}
			return nil
		})
		t.Logf("after the fall back:\n%s", out)
	})
	t.Run("upgrade", func(t *testing.T) {
		out := c.mustSh(t, "head1", "echo mine > /etc/mine; masthead upgrade /dev/vdb --dry-run")
		if !contains(out, "small-two", "slot b", "carried over", "conflict: /etc/mark was changed here and in the new image", "nothing was written") {
			t.Errorf("what would be done:\n%s", out)
		}
		c.begin(t, "head1", "masthead upgrade /dev/vdb --yes")
		c.expect(t, "head1", bootTime, `slot b standing="on trial"`)
		c.expect(t, "head1", bootTime, `slot b is healthy, after`)
		c.awaitHead(t, "head1")
		out = c.mustSh(t, "head1", "cat /etc/os-release /root/kept /etc/mine /etc/mark; masthead slot list; masthead head list -l; masthead status")
		if !contains(out, `small two`, "kept", "mine", "secret") || !regexp.MustCompile(`b +runs, starts +small-two`).MatchString(out) ||
			contains(out, "did not come up healthy") {
			t.Errorf("after the upgrade:\n%s", out)
		}
		t.Logf("after the upgrade:\n%s", out)
	})
}

// TestVMInstallRefused: a disk with a file system is not touched, and what is to be typed is said.
func TestVMInstallRefused(t *testing.T) {
	turn := awaitTurn(t, untimed, 1)
	c := turn.start(t, vmtest.Config{
		Name: "refused",
		Machines: map[string]vmtest.MachineConfig{
			"head1": {Role: string(images.RoleHead), Memory: 512, Boot: vmtest.Boot{qemu.FromCD}, ISO: iso(t, smallHead(t, "small", "one", smallInit)),
				Disks: []vmtest.DiskConfig{{Size: 3 << 30, Label: "precious"}},
				OEM:   []string{images.KeyIP + "=10.77.0.1/24"}, OEMFiles: []string{installFile(t, strings.Replace(installAnswers, "disk: auto", "disk: /dev/vda", 1))}},
		},
	})
	c.expect(t, "head1", bootTime, `error: /dev/vda is not blank, and all of it would be lost: ext2/3/4 precious`)
	c.expect(t, "head1", replyTime, `try: masthead install --from \S+ --unattended --disk /dev/vda --erase vda`)
	if out, status := c.sh(t, "head1", "masthead install --disk auto --address 10.77.0.1/24 --unattended"); status != "1" || !contains(out, "no disk is blank", "precious") {
		t.Errorf("exit status %s:\n%s", status, out)
	}
	if out := c.mustSh(t, "head1", "masthead install --unattended --disk vda --erase vda --address 10.77.0.1/24 --dry-run -o json"); !contains(out, `"applied": false`, `"name": "loader"`) {
		t.Errorf("what would be done:\n%s", out)
	}
}

// TestVMInstallDebian: a person chooses install in the ISO's menu and answers on the console. What dpkg has installed on a Debian head that runs from its disk is there after a power cut, and
// after an upgrade to another image of it.
func TestVMInstallDebian(t *testing.T) {
	long(t)
	turn := awaitTurn(t, untimed, 1)
	text, err := os.ReadFile(definition(t, "head"))
	must(t, err)
	next := filepath.Join(t.TempDir(), "head.yaml")
	// The same root under another command line is another image, and needs no second bootstrap.
	text = []byte(strings.Replace(string(text), "cmdline: console", "cmdline: masthead.next=1 console", 1))
	text = []byte(strings.Replace(string(text), "carries:\n  - worker.yaml\n", "", 1))
	must(t, os.WriteFile(next, text, 0o644))
	first := filepath.Join(t.TempDir(), "head.yaml")
	must(t, os.WriteFile(first, []byte(strings.Replace(string(text), "masthead.next=1 ", "", 1)), 0o644))
	medium, second := builtISO(t, first), builtISO(t, next)
	c := turn.start(t, vmtest.Config{
		Name: "installdebian",
		Machines: map[string]vmtest.MachineConfig{
			"head1": {Role: string(images.RoleHead), Memory: 1024, Boot: vmtest.Boot{qemu.FromDisk, qemu.FromCD}, ISO: medium,
				Disks:   []vmtest.DiskConfig{{Size: 10 << 30}, {Path: second, Bus: qemu.Virtio, ReadOnly: true}, {Path: packageDisk(t), Bus: qemu.Virtio, ReadOnly: true}},
				OEM:     []string{images.KeyIP + "=10.77.0.1/24", images.KeyPanic + "=1"},
				Forward: map[string]int{HTTPS: 443, sshPort: 22}},
		},
	})
	login := func() *ssh.Client {
		c.awaitHead(t, "head1")
		return c.login(t, "head1", func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", c.Machine("head1").Forward(sshPort))
		})
	}
	answer := func(question, text string) {
		t.Helper()
		c.expect(t, "head1", bootTime, question)
		must(t, c.Machine("head1").Console.Type(text))
	}
	answer(`boot: $`, "install\r")
	answer(`Disk to install on[^:]*: `, "9\n")
	answer(`there is no disk 9(?s).*Disk to install on[^:]*: `, "1\n")
	answer(`Address of this head[^:]*: `, "10.77.0.1/24\n")
	answer(`router[^:]*: `, "\n")
	answer(`Virtual address[^:]*: `, "10.77.0.100/24\n")
	answer(`Mail addresses[^:]*: `, "-\n")
	answer(`Password[^:]*: `, "what only I know\n")
	answer(`again[^:]*: `, "what only I know\n")
	answer(`Type yes to go on: `, "yes\n")
	if screen := c.expect(t, "head1", 2*bootTime, `(?s).*installed: head \S+ on /dev/vda.*take the ISO out`); strings.Contains(screen[0], "what only I know") {
		t.Error("the password is on the screen")
	}
	eventually(t, bootTime, "it is off", func(ctx context.Context) error {
		if s := c.Machine("head1").State(ctx); s != vmtest.Off {
			return fmt.Errorf("it is %s", s)
		}
		return nil
	})
	must(t, c.PowerOn(t.Context(), "head1"))
	c.expect(t, "head1", bootTime, `slot a standing=good`)
	head := login()
	out := run(t, head, "mkdir -p /mnt/p && mount -o ro /dev/vdc /mnt/p && dpkg -i /mnt/p/mine.deb && umount /mnt/p && mine && echo by-hand > /etc/issue.net && findmnt -no FSTYPE,OPTIONS / && sync")
	if !contains(out, "this is mine", "overlay/a/upper") {
		t.Errorf("installed:\n%s", out)
	}
	must(t, c.PowerCut("head1"))
	must(t, c.PowerOn(t.Context(), "head1"))
	c.expect(t, "head1", bootTime, `slot a standing=good`)
	head = login()
	if out := run(t, head, "mine; dpkg -s mine | head -3; cat /etc/issue.net; masthead upgrade /dev/vdb --dry-run"); !contains(out, "this is mine", "by-hand", "packages of this machine: mine") {
		t.Errorf("after a power cut:\n%s", out)
	}
	_, _ = output(head, "masthead upgrade /dev/vdb --yes") // it ends with the connection
	c.expect(t, "head1", 2*bootTime, `slot b standing="on trial"`)
	c.expect(t, "head1", bootTime, `slot b is healthy, after`)
	head = login()
	out = run(t, head, "grep -o masthead.next=1 /proc/cmdline; mine; dpkg -s mine | head -3; dpkg --audit; cat /etc/issue.net; masthead slot list; masthead head list -l; systemctl is-system-running || true")
	if !contains(out, "masthead.next=1", "this is mine", "Status: install ok installed", "by-hand", "runs, starts") {
		t.Errorf("after the upgrade:\n%s", out)
	}
	t.Logf("after the upgrade:\n%s", out)
	// udev renames the card under the virtual address; nobody is to be woken for that.
	out = run(t, head, "ls /sys/class/net; ip -o address; journalctl -b -o cat | grep -iE 'carrier|link not found|uplink' || true")
	if !contains(out, "10.77.0.100/24") || strings.Contains(out, "has no carrier") || strings.Contains(out, "Link not found") || strings.Contains(out, "uplink is down") {
		t.Errorf("after the last start:\n%s", out)
	}
	t.Logf("after the last start:\n%s", out)
}

// builtISO builds the ISO of a definition into a folder of its own: two of the same name are two files.
func builtISO(t *testing.T, file string) string {
	t.Helper()
	program(t)
	dir := t.TempDir()
	build(t, "iso", file, "-o", dir)
	return filepath.Join(dir, strings.TrimSuffix(filepath.Base(file), ".yaml")+".iso")
}

// packageDisk is a disk with a Debian package on it that no archive has.
func packageDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	for name, text := range map[string]string{
		"DEBIAN/control": "Package: mine\nVersion: 5\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: a test\n",
		"usr/bin/mine":   "#!/bin/sh\necho this is mine\n",
	} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(tree, name)), 0o755))
		must(t, os.WriteFile(filepath.Join(tree, name), []byte(text), 0o755))
	}
	files := filepath.Join(dir, "files")
	must(t, os.Mkdir(files, 0o755))
	image := filepath.Join(dir, "packages.img")
	for _, args := range [][]string{
		{"dpkg-deb", "--build", "--root-owner-group", tree, filepath.Join(files, "mine.deb")},
		{"mkfs.ext4", "-q", "-F", "-d", files, image, "8M"},
	} {
		if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	return image
}
