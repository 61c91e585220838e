package tftp

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"masthead/vmtest/prerequisite"

	"github.com/google/go-cmp/cmp"
)

// TestRefusals: path tricks, misses and writes, by clients that do not clean names up.
func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"secret": "s", "root/file": "f"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../secret", filepath.Join(dir, "root/link")); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(filepath.Join(dir, "root"))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	r := start(t, Config{Files: FromFS(root.FS())})
	for _, tt := range []struct {
		name string
		kind Kind
		why  string
		want string
	}{
		{"file", KindSent, "", "data f"},
		{"/file", KindSent, "", "data f"},
		{"none", KindMissing, "openat none: no such file or directory", "error 1 file not found"},
		{"../secret", KindRefused, "not a name of ours", "error 1 no such name"},
		{"/../secret", KindRefused, "not a name of ours", "error 1 no such name"},
		{"x/../../secret", KindRefused, "not a name of ours", "error 1 no such name"},
		{`..\secret`, KindRefused, "not a name of ours", "error 1 no such name"},
		{`\file`, KindRefused, "not a name of ours", "error 1 no such name"},
		{dir + "/secret", KindMissing, "openat " + dir[1:] + "/secret: no such file or directory", "error 1 file not found"},
		{"/" + dir + "/secret", KindRefused, "not a name of ours", "error 1 no such name"},
		{"link", KindFailed, "open: openat link: path escapes from parent", "error 1 server error"},
		{".", KindRefused, "not a name of ours", "error 1 no such name"},
		{"", KindRefused, "not a name of ours", "error 1 no such name"},
		{"/", KindRefused, "not a name of ours", "error 1 no such name"},
		{"file/", KindRefused, "not a name of ours", "error 1 no such name"},
		{"C:file", KindRefused, "not a name of ours", "error 1 no such name"},
		{"a\x1b[2Jb", KindRefused, "not a name of ours", "error 1 no such name"},
		{strings.Repeat("x", 300), KindRefused, "not a name of ours", "error 1 no such name"},
	} {
		t.Run(fmt.Sprintf("%.40q", tt.name), func(t *testing.T) {
			c := dial(t)
			c.send(t, r.addr, request(1, tt.name, "octet"))
			got, from := c.receive(t)
			if tt.kind == KindSent {
				c.send(t, from, []byte{0, 4, 0, 1})
			}
			e := r.next(t)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("client: -want +got:\n%s", diff)
			}
			want := Event{Kind: tt.kind, Name: printable(tt.name), Detail: tt.why}
			if tt.kind == KindSent {
				want.Bytes = 1
			}
			if diff := cmp.Diff(want, e, ignoreWhen); diff != "" {
				t.Errorf("event: -want +got:\n%s", diff)
			}
		})
	}
	t.Run("malformed", func(t *testing.T) {
		c := dial(t)
		for p, why := range map[string]string{"\x00\x09hello": "unknown opcode: 9", "x": "short packet", "\x00\x04\x00\x01": "unexpected tftp.pACK", "\x00\x01ab": "unpack RRQ: missing filename or mode"} {
			c.send(t, r.addr, []byte(p))
			if diff := cmp.Diff(Event{Kind: KindFailed, Detail: why}, r.next(t), ignoreWhen); diff != "" {
				t.Errorf("event: -want +got:\n%s", diff)
			}
		}
	})
	t.Run("write", func(t *testing.T) {
		c := dial(t)
		c.send(t, r.addr, request(2, "file", "octet"))
		if got, _ := c.receive(t); got != "error 1 this server is read-only" {
			t.Errorf("client got %q", got)
		}
		if diff := cmp.Diff(Event{Kind: KindRefused, Name: "file", Detail: "tries to write"}, r.next(t), ignoreWhen); diff != "" {
			t.Errorf("event: -want +got:\n%s", diff)
		}
	})
	t.Run("write by atftp", func(t *testing.T) {
		prerequisite.Program(t, "atftp")
		out, _ := exec.Command("atftp", "--put", "-l", filepath.Join(dir, "secret"), "-r", "file", "127.0.0.1", fmt.Sprint(r.addr.Port)).CombinedOutput()
		if e := r.next(t); e.Kind != KindRefused {
			t.Errorf("event %+v\n%s", e, out)
		}
		if b, err := os.ReadFile(filepath.Join(dir, "root/file")); err != nil || string(b) != "f" {
			t.Errorf("the file now holds %q (%v)", b, err)
		}
	})
}
