package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"masthead/images"
	"masthead/node/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCheckPath(t *testing.T) {
	tests := []struct {
		path string
		want string // part of the error; empty: it is good
	}{
		{"/etc/hosts", ""},
		{"/root/.ssh/id_ed25519", ""},
		{"/etc/apt/sources.list.d/a+b=c@d~e.list", ""},
		{"etc/hosts", "not an absolute path"},
		{"/", "plain absolute path"},
		{"/etc/../etc/hosts", "plain absolute path"},
		{"/etc/", "plain absolute path"},
		{"/etc/a b", "cannot be in a path"},
		{"/etc/ä", "cannot be in a path"},
		{"/etc/" + strings.Repeat("x", 250), "longer"},
		{"/proc/sys/kernel/hostname", "/proc"},
		{"/sys/x", "/sys"},
		{"/dev/sda", "/dev"},
		{"/system/x", ""},
		{"/var/lib/masthead/pki/ca.key", "masthead's own"},
		{"/var/lib/masthead", "masthead's own"},
		{"/etc/machine-id", "each machine must have its own"},
		{"/etc/hostname", "its own name"},
	}
	for _, tt := range tests {
		err := CheckPath(tt.path, []string{"/var/lib/masthead"})
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.path, err, tt.want)
		}
	}
}

func FuzzCheckPath(f *testing.F) {
	f.Add("/etc/hosts")
	f.Add("/var/lib/masthead/../masthead/x")
	f.Fuzz(func(t *testing.T, path string) {
		if CheckPath(path, []string{"/var/lib/masthead"}) != nil {
			return
		}
		if filepath.Clean(path) != path || within(path, "/proc") || within(path, "/var/lib/masthead") || strings.ContainsAny(path, "\x00 \n") {
			t.Errorf("%q is let through", path)
		}
	})
}

// bench is a head's file system with one record, as far as a Keeper sees it.
type bench struct {
	t       *testing.T
	root    string
	memory  string
	boot    string
	records map[string]Record
	blobs   map[images.Digest][]byte
	events  []string
	k       *Keeper
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, root: t.TempDir(), memory: filepath.Join(t.TempDir(), "placed.json"), boot: "boot-1", records: map[string]Record{}, blobs: map[images.Digest][]byte{}}
	b.start()
	return b
}

// start makes the Keeper that a head has after its start.
func (b *bench) start() {
	b.t.Helper()
	var err error
	b.k, err = New(Config{
		Head: "h1", Records: func() map[string]Record { return b.records }, Memory: b.memory, Boot: b.boot, Root: b.root,
		Changed: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		Content: func(_ context.Context, blob images.Blob) (io.ReadCloser, error) {
			data, ok := b.blobs[blob.Digest]
			if !ok {
				return nil, images.ErrNotFound
			}
			return io.NopCloser(bytes.NewReader(data)), nil
		},
		Forbidden: []string{"/var/lib/masthead"},
		Event:     func(text string, failed bool) { b.events = append(b.events, fmt.Sprint(failed)+" "+text) },
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) version(text string, mode uint32) wire.FileVersion {
	d := images.DigestOf([]byte(text))
	b.blobs[d] = []byte(text)
	return wire.FileVersion{Digest: d, Size: int64(len(text)), Mode: mode, UID: os.Getuid(), GID: os.Getgid()}
}

// decided is a new record of a file.
func (b *bench) decided(path string, versions ...wire.FileVersion) {
	b.records[path] = Record{wire.FileRecord{Versions: versions}, fmt.Sprint("v", len(b.records[path].Version), len(versions), versions[len(versions)-1].Digest)}
}

func (b *bench) write(path, text string) {
	b.t.Helper()
	if err := os.MkdirAll(filepath.Dir(filepath.Join(b.root, path)), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.root, path), []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) read(path string) string {
	data, err := os.ReadFile(filepath.Join(b.root, path))
	if err != nil {
		return "(" + errors.Unwrap(err).Error() + ")"
	}
	return string(data)
}

// look looks once and gives what differs, as FIELD or the reason.
func (b *bench) look() []string {
	b.k.Look(b.t.Context(), true)
	var list []string
	for _, d := range b.k.Differs() {
		if d.Head != "h1" || d.Path == "" || d.Reason == "" {
			b.t.Errorf("difference %+v", d)
		}
		if len(d.Diff) == 0 {
			list = append(list, d.Reason)
		}
		for _, f := range d.Diff {
			list = append(list, f.Field)
		}
	}
	return list
}

func TestLifeOfAFile(t *testing.T) {
	b := newBench(t)
	const path = "/etc/hosts"
	check := func(when, text, aside string, differs ...string) {
		t.Helper()
		if got := b.look(); !cmp.Equal(differs, got) {
			t.Errorf("%s: differs %q, want %q", when, got, differs)
		}
		if got := b.read(path); got != text {
			t.Errorf("%s: %q, want %q", when, got, text)
		}
		if got := b.read(path + ".old.00"); got != aside {
			t.Errorf("%s: kept %q, want %q", when, got, aside)
		}
	}
	const none = "(no such file or directory)"
	v1, v2, v3 := b.version("one", 0o644), b.version("two", 0o4755), b.version("three", 0o600)
	b.decided(path, v1)
	check("new, and nothing was there", "one", none)
	b.decided(path, v1, v2)
	check("the next version", "two", none)
	if st, err := os.Stat(filepath.Join(b.root, path)); err != nil || unixMode(st.Mode()) != 0o4755 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	b.write(path, "by hand")
	check("changed by hand", "by hand", none, "content")
	b.start()
	check("and the head was started again", "by hand", none, "content")
	b.decided(path, v1, v2, v3)
	check("the cluster has decided", "three", "by hand")
	if err := os.Chmod(filepath.Join(b.root, path), 0o666); err != nil {
		t.Fatal(err)
	}
	check("its mode changed by hand", "three", "by hand", "mode")
	os.Remove(filepath.Join(b.root, path))
	check("removed by hand", none, "by hand", "file")
	b.boot = "boot-2"
	b.start()
	check("after the machine has booted", "three", "by hand")
	b.write(path, "of the image")
	b.boot = "boot-3"
	b.start()
	check("a root that is new at each boot", "three", "by hand")
	if got := b.read(path + ".old.01"); got != "of the image" {
		t.Errorf("kept %q", got)
	}
	b.write(path, "of the image")
	b.boot = "boot-4"
	b.start()
	check("and again", "three", "by hand")
	if got := b.read(path + ".old.02"); got != none {
		t.Errorf("the same was kept twice: %q", got)
	}
	delete(b.records, path)
	check("kept the same no longer", "three", "by hand")
	failed := 0
	for _, e := range b.events {
		if strings.HasPrefix(e, "true") {
			failed++
		}
	}
	if failed != 4 { // each difference once, and once more after a start
		t.Errorf("%d differences were told:\n%s", failed, strings.Join(b.events, "\n"))
	}
}

func TestWhatIsNoFileIsLeftAlone(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{"/etc/link", "/etc/folder", "/way/secret", "/etc/absent", "/etc/full"} {
		b.decided(path, b.version("content of "+path, 0o600))
	}
	delete(b.blobs, images.DigestOf([]byte("content of /etc/absent")))
	b.write("/etc/target", "target")
	b.write("/var/lib/masthead/secret", "state")
	b.write("/etc/full", "full")
	for n := range maxOld {
		b.write(fmt.Sprintf("/etc/full.old.%02d", n), fmt.Sprint(n))
	}
	for path, to := range map[string]string{"/etc/link": "target", "/way": filepath.Join(b.root, "/var/lib/masthead")} {
		if err := os.Symlink(to, filepath.Join(b.root, path)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(b.root, "/etc/folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(b.look(), "; ")
	for _, want := range []string{"file", "a link leads it into /var/lib/masthead", "all taken"} {
		if !strings.Contains(got, want) {
			t.Errorf("differs: %s; want %s", got, want)
		}
	}
	if len(b.k.Differs()) != 5 {
		t.Errorf("%d differ, want all five: %s", len(b.k.Differs()), got)
	}
	if b.read("/etc/target") != "target" || b.read("/var/lib/masthead/secret") != "state" || b.read("/etc/full") != "full" {
		t.Error("something was overwritten")
	}
	left, err := filepath.Glob(filepath.Join(b.root, "/etc/.masthead-*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

func TestWrongContentIsNotPutInPlace(t *testing.T) {
	b := newBench(t)
	v := b.version("right", 0o600)
	b.blobs[v.Digest] = []byte("wrong")
	b.decided("/etc/x", v)
	if got := b.look(); len(got) == 0 || b.read("/etc/x") != "(no such file or directory)" {
		t.Errorf("differs %q, content %q", got, b.read("/etc/x"))
	}
	if b.k.Look(t.Context(), true) {
		t.Error("it is said to be in place")
	}
}

// Whatever happens on a head, no content that is not one of the versions is ever lost.
func TestNothingIsLostProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBench(t)
		const path = "/etc/x"
		foreign := map[string]bool{}
		var versions []wire.FileVersion
		for i := range rapid.IntRange(1, 12).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"decide", "again", "hand", "look", "restart", "boot"}).Draw(rt, "step") {
			case "decide":
				versions = append(versions, b.version(fmt.Sprint("version ", i), 0o644))
				b.decided(path, versions...)
			case "again":
				if r, ok := b.records[path]; ok {
					r.Version += "'"
					b.records[path] = r
				}
			case "hand":
				text := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "text")
				if old := b.read(path); foreign[old] {
					delete(foreign, old) // lost by hand
					for n := range maxOld {
						if b.read(fmt.Sprintf("%s.old.%02d", path, n)) == old {
							foreign[old] = true
						}
					}
				}
				b.write(path, text)
				foreign[text] = true
			case "look":
				b.look()
			case "restart":
				b.start()
			case "boot":
				b.boot += "'"
				b.start()
			}
		}
		b.look()
		for text := range foreign {
			found := b.read(path) == text
			for n := range maxOld {
				found = found || b.read(fmt.Sprintf("%s.old.%02d", path, n)) == text
			}
			if !found {
				rt.Fatalf("%q is lost", text)
			}
		}
	})
}

// What is advised keeps a changed mode; with a new content the mode is left as it was.
func TestRights(t *testing.T) {
	l := local{mode: 0o644, uid: 4242424, gid: 4242425}
	for _, tt := range []struct {
		fields []string
		want   string
	}{
		{[]string{"mode"}, " --mode 0644"},
		{[]string{"mode", "owner", "group"}, " --mode 0644 --owner 4242424 --group 4242425"},
		{[]string{"content", "mode"}, ""},
	} {
		var diff []wire.Difference
		for _, f := range tt.fields {
			diff = append(diff, wire.Difference{Field: f})
		}
		if got := rights(l, diff); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.fields, got, tt.want)
		}
	}
}
