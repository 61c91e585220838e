package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"masthead/appliance"
	"masthead/images"
	"masthead/node/wire"
)

// headFlagsFor runs a whole head on the loopback and gives the flags that reach it.
func headFlagsFor(t *testing.T) []string {
	t.Helper()
	port := func() uint16 {
		l, err := net.Listen("tcp", ":0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return uint16(l.Addr().(*net.TCPAddr).Port)
	}
	sockets, err := os.MkdirTemp("", "mh") // t.TempDir is too long for a socket's name
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(sockets) })
	cfg := appliance.DefaultConfig()
	cfg.Name, cfg.Version, cfg.StateDir, cfg.Socket = "head1", "test", t.TempDir(), filepath.Join(sockets, "api")
	cfg.Address = netip.MustParsePrefix("127.0.0.1/8")
	cfg.HTTP, cfg.HTTPS, cfg.Gossip = port(), port(), port()
	cfg.AdminToken = "0123456789abcdef0123456789abcdef-owner"
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(cfg.AdminToken), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- appliance.Serve(ctx, cfg) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for deadline := time.Now().Add(30 * time.Second); ; {
		status, err := wire.NewUnixClient(cfg.Socket).Status(t.Context())
		if err == nil {
			url := fmt.Sprintf("https://127.0.0.1:%d", cfg.HTTPS)
			return []string{"--head", url, "--ca", string(status.CA), "--token-file", token}
		}
		if time.Now().After(deadline) {
			t.Fatalf("the head does not answer: %v", err)
		}
		time.Sleep(20 * time.Millisecond) // nothing tells when it is ready
	}
}

// The commands about images and files, against a whole head.
func TestImagesAndFilesOfAHead(t *testing.T) {
	flags := headFlagsFor(t)
	command := func(args ...string) (string, string, int) { return invoke(t, append(flags, args...)...) }
	must := func(args ...string) string {
		t.Helper()
		stdout, stderr, code := command(args...)
		if code != 0 {
			t.Fatalf("%v: exit code %d: %s", args, code, stderr)
		}
		return stdout
	}
	says := func(out string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("does not say %q:\n%s", w, out)
			}
		}
	}
	dir := t.TempDir()
	older, newer := storeWith(t, dir)
	pack := func(d images.Digest) string {
		file := filepath.Join(t.TempDir(), "worker.pack")
		if _, stderr, code := invoke(t, "image", "--store", dir, "tag", string(d), "worker"); code != 0 {
			t.Fatal(stderr)
		}
		if _, stderr, code := invoke(t, "image", "--store", dir, "export", "worker", file); code != 0 {
			t.Fatal(stderr)
		}
		return file
	}
	says(must("image", "import", pack(older), "--dry-run"), "worker: none -> "+older.Short())
	says(must("image", "import", pack(older)), "worker: none -> "+older.Short())
	says(must("image", "import", pack(newer)), older.Short()+" -> "+newer.Short())
	says(must("image", "import", pack(newer)), "nothing to change")
	says(must("image", "list"), newer.Short())
	says(must("image", "show", "worker"), "before", string(older), "worker.pack")
	says(must("image", "rollback", "worker", "--dry-run"), newer.Short()+" -> "+older.Short())
	must("image", "rollback", "worker")
	says(must("image", "list", "-o", "json"), string(older))
	must("image", "tag", string(newer), "next")
	out := filepath.Join(t.TempDir(), "next.pack")
	must("image", "export", "next", out)
	if p, err := images.OpenPackFile(out); err != nil || p.Tags()["next"] != newer {
		t.Errorf("exported: %v", err)
	}
	says(must("image", "rm", "next", "--dry-run"), "next: would remove "+newer.Short())
	must("image", "rm", "next")
	if _, stderr, code := command("image", "show", "next"); code != exitFailed || !strings.Contains(stderr, "try: masthead image list") {
		t.Errorf("show of a removed image: %d %s", code, stderr)
	}
	says(must("image", "old"), "0 files set aside")

	path := filepath.Join(t.TempDir(), "hosts")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	write("one\n")
	says(must("file", "add", path, "--dry-run"), "would change", "content", "0640")
	says(must("file", "list"), "PATH")
	says(must("file", "add", path), "changed")
	says(must("file", "add", path), "nothing to change")
	says(must("file", "list"), path, "0640", "right")
	write("two\n")
	for _, args := range [][]string{{"file", "diff"}, {"file", "diff", path, "-o", "json"}} {
		stdout, stderr, code := command(args...)
		if code != exitFailed || !strings.Contains(stderr, "error: the files differ") {
			t.Errorf("%v: exit code %d, %s", args, code, stderr)
		}
		says(stdout, "head1", path, "content", "masthead file add")
	}
	says(must("file", "add", path), "changed")
	says(must("file", "diff", path), "the same on all heads")
	says(must("file", "history", path), "0640", "admin", "head1")
	if got := must("file", "show", path, "--content"); got != "two\n" {
		t.Errorf("content %q", got)
	}
	renewed := filepath.Join(t.TempDir(), "renewed")
	if err := os.WriteFile(renewed, []byte("three\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out := must("file", "add", path, "--from", renewed, "--dry-run"); strings.Contains(out, "mode") {
		t.Errorf("a renewed file gets another mode:\n%s", out)
	}
	says(must("file", "add", path, "--mode", "0600", "--dry-run"), "mode: 0640 -> 0600")
	must("file", "rollback", path)
	says(must("file", "show", path), "versions", "3")
	if got := must("file", "show", path, "--content"); got != "one\n" {
		t.Errorf("content %q", got)
	}
	says(must("file", "restore", path, "--dry-run"), path)
	must("file", "rm", path)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	nothing, mtab := filepath.Join(t.TempDir(), "nothing"), filepath.Join(t.TempDir(), "mtab")
	if err := errors.Join(os.Symlink("absent", nothing), os.Symlink("/proc/self/mounts", mtab)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"file", "add", nothing}, "is a link to nothing"},
		{[]string{"file", "add", mtab}, "mtab is a link to /proc/self/mounts, below /proc, which every machine makes anew\n"},
		{[]string{"file", "show", path}, "try: masthead file list"},
		{[]string{"file", "add", link}, "try: masthead file add " + path},
		{[]string{"file", "add", "/proc/version"}, "/proc"},
		{[]string{"file", "add", filepath.Dir(path)}, "no regular file"},
		{[]string{"file", "add", path, "--mode", "9"}, "octal"},
		{[]string{"file", "add", path, "--owner", "nosuchuser", "--dry-run"}, "no user \"nosuchuser\" on this head\ntry: masthead file add"},
	} {
		if _, stderr, code := command(tt.args...); code == 0 || !strings.Contains(stderr, tt.want) {
			t.Errorf("%v: %d %s", tt.args, code, stderr)
		} else if strings.Contains(stderr, "try: masthead file add /proc") {
			t.Errorf("%v advises what is refused: %s", tt.args, stderr)
		}
	}
}
