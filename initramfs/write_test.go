package initramfs

import (
	"bytes"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"masthead/vmtest/prerequisite"

	"github.com/cavaliergopher/cpio"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func example() []Entry {
	return []Entry{
		Bytes("init", 0o755, []byte("#!")),
		Dir("dev", 0o755),
		Char("dev/console", 0o600, 5, 1),
		{Path: "dev/big", Mode: unix.S_IFBLK | 0o660, GID: 6, Rdev: unix.Mkdev(259, 70000)},
		Link("bin", "usr/bin"),
		Bytes("empty", 0o400, nil),
		{Path: "fifo", Mode: unix.S_IFIFO | 0o600, UID: 1000, GID: 1001},
		Bytes("with space", unix.S_ISUID|0o755, []byte("12345")),
	}
}

func archive(t testing.TB, entries []Entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := Write(&buf, entries); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// A foreign reader sees what was written.
func TestWriteForeign(t *testing.T) {
	data := archive(t, example())
	if len(data)%4 != 0 {
		t.Errorf("%d bytes: the kernel wants the next archive at a multiple of four", len(data))
	}
	for _, tt := range []struct {
		program string
		args    []string
		want    []string
	}{
		{"cpio", []string{"-itv", "--numeric-uid-gid", "--quiet"}, []string{
			"lrwxrwxrwx 1 0 0 7 Jan 1 1970 bin -> usr/bin",
			"drwxr-xr-x 1 0 0 0 Jan 1 1970 dev",
			"brw-rw---- 1 0 6 259, 70000 Jan 1 1970 dev/big",
			"crw------- 1 0 0 5, 1 Jan 1 1970 dev/console",
			"-r-------- 1 0 0 0 Jan 1 1970 empty",
			"prw------- 1 1000 1001 0 Jan 1 1970 fifo",
			"-rwxr-xr-x 1 0 0 2 Jan 1 1970 init",
			"-rwsr-xr-x 1 0 0 5 Jan 1 1970 with space",
		}},
		{"bsdtar", []string{"--numeric-owner", "-tvf", "-"}, []string{
			"lrwxrwxrwx 1 0 0 7 Jan 1 1970 bin -> usr/bin",
			"drwxr-xr-x 1 0 0 0 Jan 1 1970 dev",
			"brw-rw---- 1 0 6 259,70000 Jan 1 1970 dev/big",
			"crw------- 1 0 0 5,1 Jan 1 1970 dev/console",
			"-r-------- 1 0 0 0 Jan 1 1970 empty",
			"prw------- 1 1000 1001 0 Jan 1 1970 fifo",
			"-rwxr-xr-x 1 0 0 2 Jan 1 1970 init",
			"-rwsr-xr-x 1 0 0 5 Jan 1 1970 with space",
		}},
	} {
		t.Run(tt.program, func(t *testing.T) {
			prerequisite.Programs(t, tt.program)
			cmd := exec.Command(tt.program, tt.args...)
			cmd.Env = append(cmd.Environ(), "LC_ALL=C", "TZ=UTC")
			cmd.Stdin = bytes.NewReader(data)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			var got []string
			for line := range strings.Lines(string(out)) {
				got = append(got, strings.Join(strings.Fields(line), " "))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWriteSameBytes(t *testing.T) {
	entries := example()
	want := archive(t, entries)
	slices.Reverse(entries)
	if !bytes.Equal(want, archive(t, entries)) {
		t.Error("another order of entries gives other bytes")
	}
	inode := int64(0)
	r := cpio.NewReader(bytes.NewReader(want))
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if inode++; h.Inode != inode || h.ModTime.Unix() != 0 {
			t.Errorf("%s: inode %d, want %d; time %v", h.Name, h.Inode, inode, h.ModTime)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	short := Bytes("short", 0o644, []byte("abc"))
	short.Size = 4
	long := Bytes("long", 0o644, []byte("abc"))
	long.Size = 2
	big := Bytes("big", 0o644, nil)
	big.Size = 1 << 32
	for _, tt := range []struct {
		entries []Entry
		want    []string
	}{
		{[]Entry{Dir("/abs", 0o755), Dir("a/../b", 0o755), Dir("../up", 0o755), Dir("", 0o755), Dir(".", 0o755), Dir("x/", 0o755)}, []string{`"/abs"`, `"a/../b"`, `"../up"`, `""`, `"."`, `"x/"`}},
		{[]Entry{Dir("a", 0o755), Link("a", "b")}, []string{`"a": twice`}},
		{[]Entry{Link("a", "")}, []string{`"a": link to ""`}},
		{[]Entry{{Path: "a", Mode: 0o644}}, []string{"no file type"}},
		{[]Entry{{Path: "a", Mode: unix.S_IFREG, Size: 1}}, []string{"no contents"}},
		{[]Entry{{Path: "TRAILER!!!", Mode: unix.S_IFREG}}, []string{"not a possible name"}},
		{[]Entry{{Path: "a\x00b", Mode: unix.S_IFREG}}, []string{"not a possible name"}},
		{[]Entry{big}, []string{"holds up to"}},
		{[]Entry{short}, []string{"3 bytes, its size is 4"}},
		{[]Entry{long}, []string{"longer than its size of 2"}},
	} {
		err := Write(io.Discard, tt.entries)
		for _, want := range tt.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error: %v, want %q", err, want)
			}
		}
	}
}

// FuzzWrite writes whatever is accepted so that it reads back.
func FuzzWrite(f *testing.F) {
	f.Add("bin/sh", uint32(unix.S_IFREG|0o755), uint32(0), uint64(0), "", []byte("text"))
	f.Add("dev/x", uint32(unix.S_IFCHR|0o600), uint32(1), unix.Mkdev(4095, 1<<19), "", []byte{})
	f.Add("l", uint32(unix.S_IFLNK|0o777), uint32(0), uint64(0), "target", []byte{})
	f.Fuzz(func(t *testing.T, name string, mode, uid uint32, rdev uint64, target string, data []byte) {
		e := Entry{Path: name, Mode: mode & 0o177777, UID: uid, GID: uid / 2, Rdev: rdev, Target: target, Size: int64(len(data))}
		e.Open = Bytes(name, 0, data).Open
		var buf bytes.Buffer
		if err := Write(&buf, []Entry{e}); err != nil {
			return
		}
		r := cpio.NewReader(&buf)
		h, err := r.Next()
		if err != nil {
			t.Fatalf("%q %o: %v", name, mode, err)
		}
		if h.Name != name || uint32(h.Mode) != e.Mode || uint32(h.Uid) != uid {
			t.Errorf("wrote %+v, read %+v", e, h)
		}
		got, err := io.ReadAll(r)
		if e.Mode&unix.S_IFMT == unix.S_IFREG && (err != nil || !bytes.Equal(got, data)) {
			t.Errorf("contents %q, %v, want %q", got, err, data)
		}
		if _, err := r.Next(); err != io.EOF {
			t.Errorf("after the entry: %v", err)
		}
	})
}
