package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/images"
)

func writeTree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// What a root keeps stays as the administrator has changed it; a fresh one gets everything.
func TestKeepOwn(t *testing.T) {
	all := []file{
		{Path: "/etc/hostname", Content: "head1\n"}, {Path: "/etc/hosts", Content: "127.0.1.1\thead1\n"},
		{Path: "/root/.ssh/authorized_keys", Content: "key1\nkey2\n"}, {Path: "/etc/ssh/ssh_host_ed25519_key", Content: "new"},
	}
	got, err := keepOwn(writeTree(t, nil), all)
	if d := cmp.Diff(all, got); err != nil || d != "" {
		t.Errorf("a fresh root, %v (-want +got):\n%s", err, d)
	}
	dir := writeTree(t, map[string]string{
		"etc/hosts": "127.0.1.1\thead1\n10.0.0.9\tmine\n", "root/.ssh/authorized_keys": "mine\nkey2\n", "etc/ssh/ssh_host_ed25519_key": "old",
	})
	want := []file{{Path: "/etc/hostname", Content: "head1\n"}, {Path: "/root/.ssh/authorized_keys", Content: "mine\nkey2\nkey1\n"}}
	got, err = keepOwn(dir, all)
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("a root that was used, %v (-want +got):\n%s", err, d)
	}
}

func TestSetPassword(t *testing.T) {
	const hash = "$6$salt$text"
	for _, tt := range []struct{ name, shadow, want string }{
		{"locked", "root:*:19000:0:99999:7:::\nme:$6$x$y:1::::::\n", "root:" + hash + ":19000:0:99999:7:::\nme:$6$x$y:1::::::\n"},
		{"none", "bin:*:1::::::\nroot::19000:0:99999:7:::\n", "bin:*:1::::::\nroot:" + hash + ":19000:0:99999:7:::\n"},
		{"one of its own", "root:$y$j9T$a$b:19000:0:99999:7:::\n", "root:$y$j9T$a$b:19000:0:99999:7:::\n"},
		{"no root", "me:*:1::::::\n", "me:*:1::::::\n"},
	} {
		dir := writeTree(t, map[string]string{"etc/shadow": tt.shadow})
		if err := setPassword(dir, hash); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		got, err := os.ReadFile(filepath.Join(dir, "etc/shadow"))
		if string(got) != tt.want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", tt.name, got, err, tt.want)
		}
		if st, err := os.Stat(filepath.Join(dir, "etc/shadow")); err != nil || st.Mode().Perm() != 0o640 {
			t.Errorf("%s: mode %v, %v", tt.name, st.Mode(), err)
		}
	}
	if err := setPassword(writeTree(t, nil), hash); err != nil {
		t.Errorf("a root without accounts: %v", err)
	}
	for _, bad := range []string{"plain", "$6$a$b:0", "$6$a\nroot::"} {
		if err := setPassword(writeTree(t, map[string]string{"etc/shadow": "root:*:1\n"}), bad); err == nil {
			t.Errorf("%q was taken for a hash", bad)
		}
	}
}

// An overlay stays with its image: over another one it is set aside.
func TestOverlayFor(t *testing.T) {
	state := t.TempDir()
	one, two := images.DigestOf([]byte("1")), images.DigestOf([]byte("2"))
	now := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	dir, aside, err := overlayFor(state, "a", one, now)
	if err != nil || aside != "" || dir != filepath.Join(state, "overlay/a") {
		t.Fatalf("the first: %s, %s, %v", dir, aside, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, aside, err = overlayFor(state, "a", one, now); err != nil || aside != "" {
		t.Fatalf("again: %s, %v", aside, err)
	}
	if _, aside, err = overlayFor(state, "a", two, now); err != nil || !strings.HasSuffix(aside, "overlay/a.20261122T080000") {
		t.Fatalf("another image: %s, %v", aside, err)
	}
	if _, err := os.Stat(filepath.Join(aside, "mine")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "mine")); !os.IsNotExist(err) {
		t.Errorf("the new overlay has the old one's files: %v", err)
	}
}

func TestUnitsOfDuties(t *testing.T) {
	names := func(d duties) []string {
		var all []string
		for _, u := range units(d) {
			all = append(all, strings.TrimSuffix(filepath.Base(u.Path), ".service"))
		}
		return all
	}
	for _, tt := range []struct {
		d    duties
		want []string
	}{
		{duties{role: images.RoleWorker}, []string{"masthead-agent"}},
		{duties{role: images.RoleHead}, []string{"masthead-agent", "masthead-head", "masthead-owner"}},
		{duties{role: images.RoleHead, slot: true}, []string{"masthead-agent", "masthead-head", "masthead-owner", "masthead-slot"}},
		{duties{role: images.RoleHead, install: true}, []string{"masthead-install"}},
		{duties{role: images.RoleHead, consoles: consoles("tty0 ttyS0\n")}, []string{
			"masthead-install-tty1", "getty@tty1", "serial-getty@tty1", "masthead-install-ttyS0", "getty@ttyS0", "serial-getty@ttyS0",
		}},
	} {
		if d := cmp.Diff(tt.want, names(tt.d)); d != "" {
			t.Errorf("%+v (-want +got):\n%s", tt.d, d)
		}
	}
}
