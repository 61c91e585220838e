package debian

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"masthead/rootfs"
	"masthead/rootfs/apt"
	"masthead/rootfs/roottest"
	"masthead/vmtest/prerequisite"
)

var epoch = time.Date(2025, 9, 1, 0, 0, 0, 0, time.UTC)

func TestConfigErrors(t *testing.T) {
	_, err := Archive(context.Background(), Config{Suite: "Trixie!", Packages: []string{"ok", "--evil", "a,b", "?pattern"}})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`suite "Trixie!"`, `package "--evil"`, `package "a,b"`, `package "?pattern"`, "no cache", "no epoch"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
}

func TestKeyDependsOnWhatComesOut(t *testing.T) {
	base := Config{Suite: "trixie", Variant: "minbase", Arch: "amd64", Epoch: epoch, Packages: []string{"a", "b"}}
	sources := []source{{apt.Source{URI: "http://archive.test/debian", Suites: []string{"trixie"}, Components: []string{"main"}}, []string{"d1"}}}
	want := key(base, "tool 1", sources)
	same := base
	same.Cache, same.Progress, same.MaxAge = "/elsewhere", func(string) {}, time.Hour
	if got := key(same, "tool 1", sources); got != want {
		t.Errorf("key %s for another cache, want %s", got, want)
	}
	change := func(f func(*Config)) Config { c := base; f(&c); return c }
	for name, got := range map[string]string{
		"suite":    key(change(func(c *Config) { c.Suite = "bookworm" }), "tool 1", sources),
		"variant":  key(change(func(c *Config) { c.Variant = "apt" }), "tool 1", sources),
		"packages": key(change(func(c *Config) { c.Packages = []string{"a"} }), "tool 1", sources),
		"epoch":    key(change(func(c *Config) { c.Epoch = epoch.Add(time.Second) }), "tool 1", sources),
		"tool":     key(base, "tool 2", sources),
		"lists":    key(base, "tool 1", []source{{sources[0].Source, []string{"d2"}}}),
		"sources":  key(base, "tool 1", append(slices.Clone(sources), sources[0])),
	} {
		if got == want {
			t.Errorf("%s does not change the key", name)
		}
	}
}

func TestListDigest(t *testing.T) {
	d := strings.Repeat("ab", 32)
	release := "Origin: Debian\nMD5Sum:\n 00 1 main/binary-amd64/Packages\nSHA256:\n " + strings.Repeat("0", 64) + " 7 main/binary-arm64/Packages\n " + d + "  123 main/binary-amd64/Packages\nAcquire-By-Hash: yes\n"
	if got, ok := listDigest([]byte(release), "main/binary-amd64/Packages"); !ok || got != d {
		t.Errorf("got %q %v, want %q", got, ok, d)
	}
	for _, name := range []string{"main/binary-amd64/Packages.xz", "contrib/binary-amd64/Packages"} {
		if got, ok := listDigest([]byte(release), name); ok {
			t.Errorf("%s: got %q, want none", name, got)
		}
	}
}

func TestDeb822(t *testing.T) {
	got := deb822([]source{
		{Source: apt.Source{URI: "http://archive.test/debian", Suites: []string{"trixie"}, Components: []string{"main", "contrib"}, SignedBy: []string{"/usr/share/keyrings/a.gpg"}}},
		{Source: apt.Source{URI: "https://archive.test/security", Suites: []string{"trixie-security"}, Components: []string{"main"}, SignedKey: "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ==\n-----END PGP PUBLIC KEY BLOCK-----\n"}},
		{Source: apt.Source{URI: "http://plain.test/debian", Suites: []string{"trixie"}, Components: []string{"main"}}},
	})
	want := `Types: deb
URIs: http://archive.test/debian
Suites: trixie
Components: main contrib
Signed-By: /usr/share/keyrings/a.gpg

Types: deb
URIs: https://archive.test/security
Suites: trixie-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQ==
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: http://plain.test/debian
Suites: trixie
Components: main
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

func TestLineWriter(t *testing.T) {
	var got []string
	w := &lineWriter{line: func(s string) { got = append(got, s) }}
	for _, s := range []string{"I: one\nI: t", "wo\r\n", "10%\r20%\r", "\n\nunfinished"} {
		w.Write([]byte(s))
	}
	if diff := cmp.Diff([]string{"I: one", "I: two", "10%", "20%"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestClean(t *testing.T) {
	tree := rootfs.New()
	file := func(p string) {
		t.Helper()
		if err := tree.Add(p, rootfs.Node{Mode: unix.S_IFREG | 0o644, UID: 3, Size: 1, Open: rootfs.Bytes([]byte("x"))}); err != nil {
			t.Fatal(err)
		}
	}
	kept := []string{"etc/ssh/sshd_config", "etc/hosts", "var/log", "var/log/apt", "var/lib/dpkg/status", "var/cache/apt", "etc/machine-id", "tmp", "var/log/wtmp"}
	gone := []string{"etc/hostname", "etc/resolv.conf", "etc/ssh/ssh_host_rsa_key", "etc/ssh/ssh_host_rsa_key.pub", "var/log/dpkg.log", "var/log/apt/term.log",
		"var/cache/apt/archives/x.deb", "var/cache/ldconfig/aux-cache", "var/lib/apt/lists/x", "var/lib/dpkg/status-old", "tmp/x", "run/x/y", "var/lib/dbus/machine-id"}
	for _, p := range append([]string{"etc/ssh/sshd_config", "etc/hosts", "var/lib/dpkg/status", "etc/machine-id"}, gone...) {
		file(p)
	}
	if err := tree.Add("var/log/wtmp", rootfs.Node{Mode: unix.S_IFREG | 0o664}); err != nil {
		t.Fatal(err)
	}
	if err := clean(tree); err != nil {
		t.Fatal(err)
	}
	for _, p := range kept {
		if _, err := tree.Lookup(p); err != nil {
			t.Errorf("%s is gone", p)
		}
	}
	for _, p := range gone {
		if _, err := tree.Lookup(p); err == nil {
			t.Errorf("%s is still there", p)
		}
	}
	if id, err := tree.Lookup("etc/machine-id"); err != nil || id.Size != 0 || id.UID != 3 {
		t.Errorf("machine-id: %+v, %v: want an empty file with its owner", id, err)
	}
}

// TestBootstrap makes a root twice, with the real tool and the machine's own archives, and compares. Usually it leaves
// out the slow part, which is configuring the packages; with MASTHEAD_SLOW=1 it makes one that boots.
func TestBootstrap(t *testing.T) {
	prerequisite.Programs(t, tool)
	prerequisite.Root(t)
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	variant, packages := "extract", []string{"hostname"}
	if os.Getenv("MASTHEAD_SLOW") == "1" {
		variant, packages = DefaultVariant, []string{"hostname", "systemd", "systemd-sysv", "udev", "dbus", "openssh-server", "python3"}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	var lists [2]map[string]roottest.Entry
	t.Run("at once", func(t *testing.T) { // returns when both have ended
		for i := range lists {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				lists[i] = bootstrap(ctx, t, Config{Suite: "trixie", Variant: variant, Packages: packages, Epoch: epoch, Cache: t.TempDir()})
			})
		}
	})
	if t.Failed() {
		return
	}
	if diff := cmp.Diff(lists[0], lists[1]); diff != "" {
		t.Errorf("two bootstraps differ:\n%s", diff)
	}
	if _, ok := lists[0]["usr/bin/hostname"]; !ok || len(lists[0]) < 10 {
		t.Errorf("%d entries, and usr/bin/hostname: %v", len(lists[0]), ok)
	}
}

// bootstrap makes a root, checks that it is in the cache then, and lists it.
func bootstrap(ctx context.Context, t *testing.T, c Config) map[string]roottest.Entry {
	c.Progress = func(s string) { t.Log(s) }
	tree, err := Bootstrap(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	c.Progress = func(s string) {
		if strings.HasPrefix(s, "I: ") {
			t.Errorf("%s ran again: %s", tool, s)
		}
	}
	start := time.Now()
	again, err := Bootstrap(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	t.Logf("from the cache: %v", time.Since(start))
	return roottest.Tree(t, tree)
}
