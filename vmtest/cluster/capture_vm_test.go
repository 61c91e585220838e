package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"masthead/images"
	"masthead/node/wire"
	"masthead/vmtest"
	"masthead/vmtest/qemu"
)

// capability sets one on a file of the package with what every Debian has, and getCapability shows it: vfs_cap_data of
// revision 2, cap_net_raw permitted (linux/capability.h), by setxattr(2) and getxattr(2) of x86-64.
const (
	setCapability = `perl -e '$p = "/usr/bin/mh-hello"; $n = "security.capability"; $v = pack("V5", 0x02000000, 1<<13, 0, 0, 0); syscall(188, $p, $n, $v, 20, 0) and die "$!"'`
	getCapability = `perl -e '$p = "/usr/bin/mh-hello"; $n = "security.capability"; $v = "\0" x 32; $l = syscall(191, $p, $n, $v, 32); print unpack("H*", substr($v, 0, $l))'`
	capabilityHex = "0000000200200000000000000000000000000000"
)

// headSecrets are put on the head before it is captured, and looked for on the worker: secretMarks are in them.
const headSecrets = `umask 077; mkdir -p /etc/mh-hello /var/lib/mysql
masthead head token --out /opt/mh-token; cp /var/lib/masthead/pki/admin.token /root/notes
cp /etc/shadow /etc/shadow.masthead; echo 'password: c2VjcmV0' > /root/masthead-install.yaml
echo 'rm -rf secret' > /root/.bash_history
printf -- '-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n' > /etc/mh-hello/tls.pem
echo rows > /var/lib/mysql/ibdata1
grep -qF 'root:$6$secret$hash:' /etc/shadow
echo 'mode = fast' > /etc/mh-hello/mh-hello.conf`

// unneeded is left out of the image so that an emulated processor does not have to pack it.
const unneeded = " --exclude /usr/share/doc --exclude /usr/share/locale --exclude /usr/share/i18n --exclude /usr/share/man --exclude /usr/share/zoneinfo" +
	" --exclude '/usr/lib/modules/*/kernel/drivers' --exclude '/usr/lib/modules/*/kernel/net' --exclude '/usr/lib/modules/*/kernel/sound' --exclude /usr/lib/x86_64-linux-gnu/gconv --exclude /usr/lib/udev/hwdb.d"

const secretMarks = `c2Vjcm[V]0|\$6\$secret|mh[ja]_[A-Za-z0-9_-]{40}`

// TestVMCapture installs a package on a Debian head that is installed on a disk, publishes the head's root as the workers'
// image, and rolls a worker to it by kexec; then to an image with the same kernel, and back, by soft reboots. How a roll
// stops is TestVMRoll's.
func TestVMCapture(t *testing.T) {
	turn := awaitTurn(t, timed, 2)
	deb := helloPackage(t)
	c := turn.start(t, vmtest.Config{
		Name: "capture",
		Machines: map[string]vmtest.MachineConfig{
			"head1": {Role: string(images.RoleHead), Memory: 1024, NICs: []vmtest.NICConfig{{}},
				Disks:   []vmtest.DiskConfig{{Path: rawDisk(t, cloudHead(t), "--size", "4G")}},
				OEM:     []string{"masthead.credential." + images.CredentialPassword + "=$6$secret$hash"},
				Forward: map[string]int{HTTPS: 443, sshPort: 22}},
			"n01": {Role: string(images.RoleWorker), Memory: 768, Firmware: qemu.BIOS},
		},
	})
	c.awaitHead(t, "head1")
	quick := "masthead.panic=3" // a boot that fails is tried again at once
	must(t, c.Register(t.Context(), c.head, "n01", wire.NodeChange{Cmdline: &quick}))
	c.awaitUp(t, "head1", "head1", "")
	head := c.login(t, "head1", func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", c.Machine("head1").Forward(sshPort))
	})
	send(t, head, "/tmp/mh-hello.deb", deb)
	t.Logf("on head1:\n%s", run(t, head, "dpkg -i /tmp/mh-hello.deb && "+setCapability+" && "+headSecrets))
	c.awaitUp(t, "n01", "n01", "")
	before := c.running(t, "n01")

	began := time.Now()
	out := run(t, head, "masthead image capture --publish -v"+unneeded)
	t.Logf("captured in %.1f s:\n%s", time.Since(began).Seconds(), out)
	for _, want := range []string{"+ mh-hello 1.0", "left out: /etc/mh-hello/tls.pem", "left out: /root/.bash_history", "changed: /etc/shadow", "left out: /usr/share/doc: as asked", "1 node needs a reboot"} {
		if !strings.Contains(out, want) {
			t.Errorf("the capture does not say %q", want)
		}
	}
	if list := c.cli(t, "node", "list", "needs-reboot=true"); !contains(list, "\nn01 ", "needs reboot") || strings.Contains(list, "\nhead1") {
		t.Errorf("nodes that need a reboot:\n%s", list)
	}

	began = time.Now()
	t.Logf("rolled:\n%s(%.1f s)", c.cli(t, "node", "roll", "needs-reboot=true", "--timeout", "8m", "--check", "mh-hello | grep hello"), time.Since(began).Seconds())
	if c.running(t, "n01") == before {
		t.Errorf("n01 still runs %s", before.Short())
	}
	c.checkCaptured(t, head)
	c.checkSoft(t)
}

// checkSoft rolls n01 to an image with the same kernel and back. Its kernel goes on, its root is new each time.
func (c *trial) checkSoft(t *testing.T) {
	t.Helper()
	const look = "cat /proc/sys/kernel/random/boot_id; ls /etc/mark 2>&1; systemctl show -P SoftRebootsCount; pgrep -c masthead-rootd; touch /etc/mark; systemctl is-system-running --wait"
	said := func() []string {
		t.Helper()
		out, err := masthead(t, c.remote([]string{"node", "exec", "n01", "-n", "--timeout", "8m", "--", look + "; true"})...)
		must(t, err)
		return strings.Split(strings.TrimSpace(out), "\n")
	}
	before := said()
	captured := c.running(t, "n01")
	next := c.publish(t, "worker", func(m *images.Manifest) { m.Loaders = nil })
	for i, step := range []struct {
		args []string
		want images.Digest
	}{
		{[]string{"n01"}, next},
		{[]string{"--back", "n01", "--method", "soft"}, captured},
	} {
		began := time.Now()
		out := c.cli(t, append([]string{"node", "roll", "--timeout", "8m"}, step.args...)...)
		t.Logf("rolled softly in %.1f s:\n%s", time.Since(began).Seconds(), out)
		if !contains(out, "restarting softly into worker "+step.want.Short(), "done: 1 of 1") || c.running(t, "n01") != step.want {
			t.Errorf("n01 does not run %s", step.want.Short())
		}
		now := said()
		// The kernel goes on, the root is new, and the server of the one before has ended.
		want := []string{before[0], "ls: cannot access '/etc/mark': No such file or directory", strconv.Itoa(i + 1), "1", "running"}
		if diff := cmp.Diff(want, now); diff != "" {
			t.Errorf("after soft reboot %d n01 says (-want +got):\n%s", i+1, diff)
		}
	}
}

// running is the image that a node says it runs.
func (c *trial) running(t *testing.T, name string) images.Digest {
	t.Helper()
	var n wire.Node
	must(t, json.Unmarshal([]byte(c.cli(t, "node", "show", name)), &n))
	if n.Phase != wire.PhaseUp || n.Running == "" {
		t.Errorf("%s: %s with %q", name, n.Phase, n.Running)
	}
	return n.Running
}

// checkCaptured looks for what the worker must have of the head, and must not.
func (c *trial) checkCaptured(t *testing.T, head *ssh.Client) {
	t.Helper()
	const identity = "cat /etc/machine-id; sha256sum < /etc/ssh/ssh_host_ed25519_key"
	sections := []struct{ command, want string }{
		{"dpkg-query -W mh-hello", "mh-hello\t1.0"},
		{"mh-hello; hostname", "hello of n01\nn01"},
		{"cat /etc/mh-hello/mh-hello.conf", "mode = fast"},
		{getCapability, capabilityHex},
		{"ls -d /root/.bash_history /var/lib/mysql/ibdata1 /var/lib/masthead/* /etc/shadow.masthead 2>/dev/null; grep -rlE '" + secretMarks + "' /etc /home /opt /root /srv /usr/local /var", ""},
		{"grep ^root: /etc/shadow | cut -d: -f2", "*"},
		{"systemctl is-system-running --wait; systemctl --failed --no-legend --plain", "running"},
	}
	const rule = "\n-- next --\n"
	var script []string
	for _, s := range sections {
		script = append(script, s.command)
	}
	script = append(script, identity)
	out := c.cli(t, "node", "exec", "n01", "-n", "--timeout", "8m", "--", strings.Join(script, "; printf '"+strings.ReplaceAll(rule, "\n", `\n`)+"'; ")+"; true")
	got := strings.Split(out, rule)
	if len(got) != len(script) {
		t.Fatalf("n01 says\n%s", out)
	}
	for i, s := range sections {
		if strings.TrimSpace(got[i]) != s.want {
			t.Errorf("n01: %s\n%s\nwant %s", s.command, got[i], s.want)
		}
	}
	for line := range strings.Lines(run(t, head, identity)) {
		if strings.Contains(got[len(got)-1], strings.TrimSpace(line)) {
			t.Errorf("n01 has of head1: %s", line)
		}
	}
}

// cloudHead is the shipped head, and the worker that it carries, with the kernel for virtual machines, which starts in half
// of the time.
func cloudHead(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	for _, name := range []string{"worker", "head"} {
		text, err := os.ReadFile(definition(t, name))
		must(t, err)
		cloud := strings.Replace(string(text), "linux-image-amd64", "linux-image-cloud-amd64", 1)
		must(t, os.WriteFile(filepath.Join(folder, name+".yaml"), []byte(cloud), 0o644))
	}
	return filepath.Join(folder, "head.yaml")
}

// helloPackage builds a Debian package with one program.
func helloPackage(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"DEBIAN/control":   "Package: mh-hello\nVersion: 1.0\nArchitecture: all\nMaintainer: masthead <root@localhost>\nDescription: says hello\n",
		"usr/bin/mh-hello": "#!/bin/sh\necho hello of $(hostname)\n",
	} {
		path := filepath.Join(dir, "tree", name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(text), 0o755))
	}
	file := filepath.Join(dir, "mh-hello.deb")
	if out, err := exec.CommandContext(t.Context(), "dpkg-deb", "--root-owner-group", "--build", filepath.Join(dir, "tree"), file).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb: %v\n%s", err, out)
	}
	data, err := os.ReadFile(file)
	must(t, err)
	return data
}

// send writes a file on a machine.
func send(t *testing.T, node *ssh.Client, path string, data []byte) {
	t.Helper()
	s, err := node.NewSession()
	must(t, err)
	defer s.Close()
	s.Stdin = bytes.NewReader(data)
	if out, err := s.CombinedOutput("cat > " + path); err != nil {
		t.Fatalf("write %s: %v\n%s", path, err, out)
	}
}
