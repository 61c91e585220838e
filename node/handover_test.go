package node

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"masthead/images"
	"masthead/node/wire"
)

func TestIdentityFiles(t *testing.T) {
	id := identity{
		Name: "n01", Domain: "cluster", MachineID: machineID("52:54:00:77:00:0a"),
		Hosts:   []wire.Host{{Name: "n01", Address: netip.MustParseAddr("10.77.0.11")}, {Name: "n02", Address: netip.MustParseAddr("10.77.0.12")}},
		DNS:     []netip.Addr{netip.MustParseAddr("10.77.0.1")},
		SSHKeys: []string{"ssh-ed25519 AAAA admin"},
		Parent:  netip.MustParseAddr("10.77.0.1"),
	}
	got := map[string]string{}
	for _, f := range id.files() {
		got[f.Path] = f.Content
	}
	want := map[string]string{
		"/etc/hostname": "n01\n",
		"/etc/hosts": "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\tn01.cluster n01\n" +
			"# masthead keeps the lines from here\n10.77.0.1\tparent-head-node\n10.77.0.12\tn02\n" +
			"# to here; others may stand above and below\n",
		"/etc/machine-id":            machineID("52:54:00:77:00:0a") + "\n",
		"/etc/resolv.conf":           "search cluster\nnameserver 10.77.0.1\n",
		"/root/.ssh/authorized_keys": "ssh-ed25519 AAAA admin\n",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestMachineIDIsStableAndOwn(t *testing.T) {
	a, b := machineID("52:54:00:77:00:0a"), machineID("52:54:00:77:00:0b")
	if len(a) != 32 || a == b || a != machineID("52:54:00:77:00:0a") {
		t.Errorf("machine ids %q and %q", a, b)
	}
}

func TestWriteFiles(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	root := t.TempDir()
	// A root may come from anywhere: a link out of it must not be followed, a dangling one is replaced.
	if err := os.Symlink(outside, filepath.Join(root, "evil")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/run/systemd/resolve/stub-resolv.conf", filepath.Join(root, "etc/resolv.conf")); err != nil {
		t.Fatal(err)
	}
	err := writeFiles(root, []file{
		{Path: "/etc/resolv.conf", Content: "nameserver 10.77.0.1\n", Mode: 0o644},
		{Path: "/root/.ssh/authorized_keys", Content: "key\n", Mode: 0o600},
		{Path: "/etc/ssh/ssh_host_ed25519_key", Content: "x", Mode: 0o600, Into: "/etc/ssh"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(root, "etc/resolv.conf")); string(data) != "nameserver 10.77.0.1\n" {
		t.Errorf("resolv.conf: %q, %v", data, err)
	}
	if st, err := os.Stat(filepath.Join(root, "root/.ssh")); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("/root/.ssh: %v, %v; want 0700", st, err)
	}
	if _, err := os.Stat(filepath.Join(root, "etc/ssh")); !os.IsNotExist(err) {
		t.Errorf("a host key was written into a root without SSH: %v", err)
	}
	if err := writeFiles(root, []file{{Path: "/evil/passwd", Content: "x", Mode: 0o644}}); err == nil {
		t.Error("a link out of the root was followed")
	}
	if _, err := os.Stat(outside); !os.IsNotExist(err) {
		t.Errorf("something was written outside of the root: %v", err)
	}
}

func TestHostKeyIsOne(t *testing.T) {
	f, err := hostKey()
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.ParsePrivateKey([]byte(f.Content))
	if err != nil || key.PublicKey().Type() != ssh.KeyAlgoED25519 {
		t.Errorf("host key: %v", err)
	}
}

func TestUnits(t *testing.T) {
	var names []string
	for _, u := range units(duties{role: images.RoleHead}) {
		names = append(names, filepath.Base(u.Path))
		if !strings.Contains(u.Content, "ExecStart="+images.RunBinary+" ") {
			t.Errorf("%s does not run the binary in /run:\n%s", u.Path, u.Content)
		}
	}
	if d := cmp.Diff([]string{"masthead-agent.service", "masthead-head.service", "masthead-owner.service"}, names); d != "" {
		t.Errorf("units of a head (-want +got):\n%s", d)
	}
	if n := len(units(duties{role: images.RoleWorker})); n != 1 {
		t.Errorf("%d units on a worker, want 1", n)
	}
}

func TestInitThere(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"usr/lib/systemd", "sbin"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range map[string]os.FileMode{"usr/lib/systemd/systemd": 0o755, "usr/lib/data": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"sbin/init": "/lib/systemd/systemd", "lib": "usr/lib", "sbin/gone": "nowhere", "sbin/loop": "loop"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for path, ok := range map[string]bool{"/sbin/init": true, "/usr/lib/systemd/systemd": true, "/usr/lib/data": false, "/sbin/gone": false, "/sbin/loop": false, "/sbin": false} {
		if err := initThere(dir, path); (err == nil) != ok {
			t.Errorf("init %s: %v", path, err)
		}
	}
}

func TestWithImage(t *testing.T) {
	d := images.DigestOf([]byte("new"))
	for _, tt := range []struct{ line, before, next, want string }{
		{"initrd=i console=ttyS0 quiet masthead.ip=dhcp quiet", "console=ttyS0  quiet", "console=ttyS0 hugepages=4", "initrd=i console=ttyS0 hugepages=4 masthead.ip=dhcp quiet"},
		{"console=ttyS0 debug quiet", "console=ttyS0 quiet", "x", "console=ttyS0 debug quiet"}, // edited at a prompt
		{"masthead.ip=dhcp", "", "quiet", "quiet masthead.ip=dhcp"},
		{"a b", "a b c", "x", "a b"},
		{"a b", "a b", "", ""},
	} {
		if got := withWords(tt.line, tt.before, tt.next); got != tt.want {
			t.Errorf("withWords(%q, %q, %q) = %q, want %q", tt.line, tt.before, tt.next, got, tt.want)
		}
	}
	got := withImage("quiet masthead.image=sha256:old root=ram masthead.image=x", d)
	if want := "quiet root=ram masthead.image=" + string(d); got != want {
		t.Errorf("withImage: %q, want %q", got, want)
	}
}
