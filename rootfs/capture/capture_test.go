package capture

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"masthead/images"
	"masthead/rootfs"
	"masthead/rootfs/directory"
	"masthead/rootfs/roottest"
	"masthead/vmtest/prerequisite"
)

// machineFiles is a small head: what a worker is to have, and what it must not.
var machineFiles = map[string]string{
	"usr/bin/hello":                            "#!/bin/sh\n",
	"var/lib/dpkg/status":                      "Package: hello\n",
	"var/lib/dpkg/status-old":                  "",
	"etc/hello.conf":                           "greeting = hello\n",
	"etc/hostname":                             "head1\n",
	"etc/hosts":                                "10.0.0.1 printer\n127.0.1.1\thead1\n",
	"etc/machine-id":                           "0123456789abcdef0123456789abcdef\n",
	"etc/shadow":                               "root:$y$j9T$secret:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\nguest::19000::::::\nold:!$6$hash:1::::::\nsshd:!:1::::::\n",
	"etc/ssh/ssh_host_ed25519_key":             "key",
	"etc/ssh/sshd_config":                      "PermitRootLogin yes\n",
	"etc/ssl/private/server.key":               "key",
	"etc/hello/client.pem":                     "# a bundle\n-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n-----BEGIN EC PRIVATE KEY-----\nAA==\n",
	"etc/shadow.masthead":                      "root:$6$half$written:1::::::\n",
	"etc/htpasswd":                             "me:$2y$05$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZabcdef\n",
	"root/answers":                             "password_hash: $6$saltsalt$abcdefghijklmnopqrstuvwxyz\n",
	"root/masthead-install-b.yaml":             "password: secret\n",
	"home/me/notes":                            "masthead head join with mhj_" + strings.Repeat("Ab3_-", 20) + " soon\n",
	"etc/hello/admin":                          "mha_" + strings.Repeat("x", 43) + "\n",
	"etc/hello/ca.pem":                         "-----BEGIN CERTIFICATE-----\nAA==\n",
	"etc/NetworkManager/system-connections/a":  "psk=secret",
	"etc/systemd/system/masthead-head.service": "[Unit]\n",
	"root/.ssh/authorized_keys":                "ssh-ed25519 AAAA me\n",
	"root/.ssh/config":                         "Host x\n",
	"root/.bash_history":                       "passwd\n",
	"root/.bashrc":                             "alias l=ls\n",
	"var/lib/masthead/pki/ca.key":              "key",
	"var/lib/mysql/ibdata1":                    "rows",
	"var/log/nginx/access.log":                 "a line\n",
	"var/cache/apt/archives/hello.deb":         "a package",
	"usr/share/doc/openssl/test.key":           "-----BEGIN PRIVATE KEY-----\n",
}

func machineRoot(t *testing.T) string {
	t.Helper()
	prerequisite.Root(t)
	dir := t.TempDir()
	for name, text := range machineFiles {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func read(t *testing.T, c Config) *Root {
	t.Helper()
	r, err := Read(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// files are the regular files of a tree with their contents.
func files(t *testing.T, tree *rootfs.Tree) map[string]string {
	t.Helper()
	all := map[string]string{}
	for name, n := range tree.All() {
		if !n.IsRegular() {
			continue
		}
		data, err := fs.ReadFile(tree.FS(), name)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = string(data)
	}
	return all
}

func TestCapture(t *testing.T) {
	dir := machineRoot(t)
	r := read(t, Config{Root: dir, Edits: map[string]func(string) string{
		"etc/hosts": func(text string) string { return strings.ReplaceAll(text, "127.0.1.1\thead1\n", "") },
	}})
	want := map[string]string{}
	for _, name := range []string{"usr/bin/hello", "var/lib/dpkg/status", "etc/hello.conf", "etc/ssh/sshd_config", "etc/hello/ca.pem", "etc/htpasswd", "root/.bashrc", "usr/share/doc/openssl/test.key"} {
		want[name] = machineFiles[name]
	}
	want["etc/hosts"] = "10.0.0.1 printer\n"
	want["etc/machine-id"] = ""
	want["etc/shadow"] = "root:*:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\nguest:*:19000::::::\nold:*:1::::::\nsshd:!:1::::::\n"
	if diff := cmp.Diff(want, files(t, r.Tree)); diff != "" {
		t.Errorf("want (-), captured (+):\n%s", diff)
	}
	if n, err := r.Tree.Lookup("var/log/nginx"); err != nil || !n.IsDir() {
		t.Errorf("the folder of a log: %v", err)
	}
	var left []string
	for _, l := range r.Left {
		if l.Why == "" {
			t.Errorf("%s stays out for no reason", l.Path)
		}
		left = append(left, l.Path)
	}
	if !slices.IsSorted(left) || !slices.Contains(left, "/etc/hello/client.pem") || !slices.Contains(left, "/var/lib/masthead/pki") {
		t.Errorf("left out: %v", left)
	}
}

func TestCaptureKeepsAndExcludes(t *testing.T) {
	dir := machineRoot(t)
	further := read(t, Config{Root: dir, Further: []Rule{{Pattern: "usr/share/*", Why: "of the volume"}}})
	if got := files(t, further.Tree); got["usr/share/doc/openssl/test.key"] != "" || !slices.Contains(further.Left, Left{Path: "/usr/share/doc", Why: "of the volume"}) {
		t.Errorf("with a further rule: %v", further.Left)
	}
	r := read(t, Config{Root: dir, Keep: []string{"/root/.ssh/config", "/etc/hello/client.pem"}, Exclude: []string{"/etc/hello.*"}})
	got := files(t, r.Tree)
	for name, want := range map[string]bool{"root/.ssh/config": true, "root/.ssh/authorized_keys": false, "etc/hello/client.pem": true, "etc/hello.conf": false} {
		if _, there := got[name]; there != want {
			t.Errorf("%s is there: %v, want %v", name, there, want)
		}
	}
	if _, err := Read(context.Background(), Config{Root: dir, Exclude: []string{"[a"}}); err == nil {
		t.Error("a pattern that is none was taken")
	}
}

// TestCaptureKeepsFiles holds that hard links, attributes, capabilities, owners, times and holes come along.
func TestCaptureKeepsFiles(t *testing.T) {
	dir := machineRoot(t)
	hello := filepath.Join(dir, "usr/bin/hello")
	sparse := filepath.Join(dir, "usr/lib.img")
	// vfs_cap_data of revision 2, cap_net_raw permitted (linux/capability.h).
	capability := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	for _, err := range []error{
		os.Link(hello, filepath.Join(dir, "usr/bin/hallo")),
		os.Chown(hello, 7, 8),
		unix.Chmod(hello, 0o2755),
		unix.Setxattr(hello, "security.capability", []byte(capability), 0),
		os.Chtimes(hello, time.Unix(1_600_000_000, 0), time.Unix(1_600_000_000, 0)),
		os.Symlink("hello", filepath.Join(dir, "usr/bin/hi")),
		unix.Mknod(filepath.Join(dir, "usr/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
		os.WriteFile(sparse, nil, 0o644),
		os.Truncate(sparse, 8<<20),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	r := read(t, Config{Root: dir})
	want := roottest.Directory(t, dir)
	got := roottest.Tree(t, r.Tree)
	for _, name := range []string{"usr/bin/hello", "usr/bin/hallo", "usr/bin/hi", "usr/null", "usr/lib.img"} {
		if diff := cmp.Diff(want[name], got[name]); diff != "" {
			t.Errorf("%s: on disk (-), captured (+):\n%s", name, diff)
		}
	}
	a, _ := r.Tree.Lookup("usr/bin/hello")
	b, _ := r.Tree.Lookup("usr/bin/hallo")
	if a != b || a.Xattrs["security.capability"] != capability {
		t.Errorf("hello %+v, hallo %+v", a, b)
	}
}

// TestCaptureSeesNoMounts holds that what is mounted over a part of the root does not come along: what lies below does.
func TestCaptureSeesNoMounts(t *testing.T) {
	dir := machineRoot(t)
	bound, secret := filepath.Join(dir, "etc/hello"), t.TempDir()
	if err := os.WriteFile(filepath.Join(secret, "row"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	// The folder itself is a mount, so that others can be made in it and seen.
	for _, m := range []struct{ from, to string }{{dir, dir}, {secret, bound}, {filepath.Join(secret, "row"), filepath.Join(dir, "etc/hello.conf")}} {
		if err := unix.Mount(m.from, m.to, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		defer unix.Unmount(m.to, unix.MNT_DETACH)
	}
	got := files(t, read(t, Config{Root: dir}).Tree)
	if _, ok := got["etc/hello/row"]; ok || got["etc/hello/ca.pem"] == "" || got["etc/hello.conf"] != machineFiles["etc/hello.conf"] {
		t.Errorf("through mounts: %v", got)
	}
}

// TestCaptureOverlay reads the kind of root that a head has: a file system below, and what was changed since above.
func TestCaptureOverlay(t *testing.T) {
	lower := machineRoot(t)
	layers, dir := t.TempDir(), t.TempDir()
	if err := unix.Mount("tmpfs", layers, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(layers, unix.MNT_DETACH)
	for _, name := range []string{"upper", "work"} {
		if err := os.Mkdir(filepath.Join(layers, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount("root", dir, "overlay", 0, "lowerdir="+lower+",upperdir="+layers+"/upper,workdir="+layers+"/work"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	for _, err := range []error{
		os.RemoveAll(filepath.Join(dir, "etc/hello")), // a whiteout
		os.Mkdir(filepath.Join(dir, "etc/hello"), 0o755),
		os.WriteFile(filepath.Join(dir, "etc/hello/new"), []byte("new"), 0o644), // in an opaque folder
		os.Remove(filepath.Join(dir, "etc/hello.conf")),
		os.WriteFile(filepath.Join(dir, "usr/bin/hello"), []byte("upgraded"), 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	r := read(t, Config{Root: dir})
	got := files(t, r.Tree)
	if got["usr/bin/hello"] != "upgraded" || got["etc/hello/new"] != "new" {
		t.Errorf("what was changed: %q", got)
	}
	for _, gone := range []string{"etc/hello.conf", "etc/hello/ca.pem"} {
		if _, ok := got[gone]; ok {
			t.Errorf("%s was removed and comes along", gone)
		}
	}
	for name, n := range r.Tree.All() {
		for x := range n.Xattrs {
			if strings.Contains(x, "overlay") || n.IsWhiteout() {
				t.Errorf("%s has %s", name, x)
			}
		}
	}
}

func TestCaptureOfAChangingFile(t *testing.T) {
	dir := machineRoot(t)
	conf := filepath.Join(dir, "usr/share/state")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	build := func(r *Root) (images.Root, error) {
		store, err := images.OpenStore(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		return rootfs.Build(context.Background(), r.Tree, time.Unix(1_700_000_000, 0), store, rootfs.SealOptions{})
	}
	write(strings.Repeat("one", 2000))
	long := time.Unix(1_600_000_000, 0) // what is written within one tick of the clock has one time
	if err := os.Chtimes(conf, long, long); err != nil {
		t.Fatal(err)
	}
	first := read(t, Config{Root: dir})
	write(strings.Repeat("two", 2000))
	_, err := build(first)
	if path, ok := Changed(err); !ok || path != "/usr/share/state" {
		t.Fatalf("a file that changed after it was listed: %v", err)
	}
	second := read(t, Config{Root: dir, Before: first})
	write("three") // it is held
	if _, err := build(second); err != nil {
		t.Errorf("read again: %v", err)
	}
	if got := files(t, second.Tree)["usr/share/state"]; got != strings.Repeat("two", 2000) {
		t.Errorf("held: %.20q", got)
	}
}

// TestCaptureTornRead changes a file while it is being read.
func TestCaptureTornRead(t *testing.T) {
	dir := machineRoot(t)
	path := filepath.Join(dir, "usr/big")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	long := time.Unix(1_600_000_000, 0)
	if err := os.Chtimes(path, long, long); err != nil {
		t.Fatal(err)
	}
	r := read(t, Config{Root: dir})
	n, err := r.Tree.Lookup("usr/big")
	if err != nil {
		t.Fatal(err)
	}
	f, err := n.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.ReadFull(f, make([]byte, 1<<19)); err != nil {
		t.Fatal(err)
	}
	w, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteAt([]byte("x"), 1<<19+1); err != nil {
		t.Fatal(err)
	}
	w.Close()
	var changed *directory.Changed
	if _, err := io.ReadFull(f, make([]byte, 1<<19)); !errors.As(err, &changed) {
		t.Errorf("a torn read: %v", err)
	}
}

// TestContentOfAFileInUse reads files that have changed since they were listed: what is there now counts, also if that is
// nothing.
func TestContentOfAFileInUse(t *testing.T) {
	dir := machineRoot(t)
	r := read(t, Config{Root: dir})
	path := filepath.Join(dir, "usr/bin/hello")
	n, err := r.Tree.Lookup("usr/bin/hello")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("a longer text than before"), 0o755); err != nil {
		t.Fatal(err)
	}
	if data, err := r.content("usr/bin/hello", n); err != nil || string(data) != "a longer text than before" || n.Size != int64(len(data)) {
		t.Errorf("%q, %v, size %d", data, err, n.Size)
	}
	conf, err := r.Tree.Lookup("etc/ssh/sshd_config")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "etc/ssh/sshd_config")); err != nil {
		t.Fatal(err)
	}
	if data, err := r.content("etc/ssh/sshd_config", conf); err != nil || data != nil {
		t.Errorf("a file that was removed: %q, %v", data, err)
	}
	if _, err := r.Tree.Lookup("etc/ssh/sshd_config"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that was removed is in the tree: %v", err)
	}
}

func TestCaptureTwiceSameBytes(t *testing.T) {
	dir := machineRoot(t)
	var roots []images.Root
	for range 2 {
		store, err := images.OpenStore(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		root, err := rootfs.Build(context.Background(), read(t, Config{Root: dir}).Tree, time.Unix(1_700_000_000, 0), store, rootfs.SealOptions{})
		if err != nil {
			t.Fatal(err)
		}
		roots = append(roots, root)
	}
	if diff := cmp.Diff(roots[0], roots[1]); diff != "" {
		t.Errorf("two captures of one root:\n%s", diff)
	}
}

func TestRules(t *testing.T) {
	for _, r := range Rules() {
		if _, err := filepath.Match(r.Pattern, "x"); err != nil || r.Why == "" || strings.HasPrefix(r.Pattern, "/") {
			t.Errorf("rule %+v: %v", r, err)
		}
	}
	for name, want := range map[string]bool{
		"etc/ssh/ssh_host_rsa_key.pub": true, "etc/ssh/ssh_config": false, "home/me/.ssh": true, "home/me/.profile": false,
		"var/lib/dhcp/dhclient.leases": true, "var/lib/dpkg/lock-frontend": true, "etc/systemd/system/multi-user.target.wants/masthead-head.service": true,
		"etc/mysql/debian.cnf": true, "etc/mysql/my.cnf": false, "boot/vmlinuz-6.1": false,
	} {
		if got := judge(rules, nil, name, unix.S_IFREG) != ""; got != want {
			t.Errorf("%s stays out: %v, want %v", name, got, want)
		}
	}
}
