package tools

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"
)

func TestGetopt(t *testing.T) {
	type flags = map[string][]string
	tests := []struct {
		spec  string
		args  []string
		flags flags
		rest  []string
		err   bool
	}{
		{"sf", []string{"-sf", "a", "b"}, flags{"s": {""}, "f": {""}}, []string{"a", "b"}, false},
		{"sf", []string{"a", "-s", "b"}, flags{"s": {""}}, []string{"a", "b"}, false},
		{"+i", []string{"-i", "a", "-s"}, flags{"i": {""}}, []string{"a", "-s"}, false},
		{"n:v", []string{"-vn5", "x"}, flags{"v": {""}, "n": {"5"}}, []string{"x"}, false},
		{"n:", []string{"-n", "5"}, flags{"n": {"5"}}, nil, false},
		{"n:", []string{"-5"}, flags{"n": {"5"}}, nil, false},
		{"o:", []string{"-o", "a", "-o", "b"}, flags{"o": {"a", "b"}}, nil, false},
		{"s", []string{"--", "-s"}, nil, []string{"-s"}, false},
		{"s", []string{"-"}, nil, []string{"-"}, false},
		{"s", []string{"--help"}, flags{"help": {""}}, nil, false},
		{"q long-one", []string{"--long-one"}, flags{"long-one": {""}}, nil, false},
		{"!", []string{"-9", "1"}, nil, []string{"-9", "1"}, false},
		{"!", []string{"--help"}, flags{"help": {""}}, nil, false},
		{"s", []string{"-x"}, nil, nil, true},
		{"s", []string{"-:"}, nil, nil, true},
		{"s", []string{"-5"}, nil, nil, true},
		{"s", []string{"--x"}, nil, nil, true},
		{"n:", []string{"-n"}, nil, nil, true},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.spec, tt.args), func(t *testing.T) {
			o, err := getopt("x", tt.spec, tt.args)
			if tt.err {
				if !errors.Is(err, errUsage) {
					t.Fatalf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.flags, o.flags, cmpopts.EquateEmpty()) + cmp.Diff(tt.rest, o.args, cmpopts.EquateEmpty()); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

func TestMountOptions(t *testing.T) {
	tests := []struct {
		opts  []string
		flags uintptr
		data  string
	}{
		{nil, 0, ""},
		{[]string{"ro,nosuid", "size=1m,mode=700"}, unix.MS_RDONLY | unix.MS_NOSUID, "size=1m,mode=700"},
		{[]string{"ro,rw,defaults,"}, 0, ""},
		{[]string{"lowerdir=/a,upperdir=/b,noatime"}, unix.MS_NOATIME, "lowerdir=/a,upperdir=/b"},
		{[]string{"rbind"}, unix.MS_BIND | unix.MS_REC, ""},
		{[]string{"remount,ro,bind"}, unix.MS_REMOUNT | unix.MS_RDONLY | unix.MS_BIND, ""},
	}
	for _, tt := range tests {
		if flags, data := mountOptions(tt.opts); flags != tt.flags || data != tt.data {
			t.Errorf("%v: %#x %q, want %#x %q", tt.opts, flags, data, tt.flags, tt.data)
		}
	}
	// Each option sets or clears something that the kernel knows, but defaults.
	for name, f := range mountFlags {
		if (f.flag == 0) != (name == "defaults") {
			t.Errorf("%s: %#x", name, f.flag)
		}
	}
}

func TestParseMounts(t *testing.T) {
	const text = "proc /proc proc rw,nosuid 0 0\n/dev/sda1 /mnt/a\\040b\\134c ext4 ro 0 0\nshort\n"
	want := []mounted{{"proc", "/proc", "proc", "rw,nosuid"}, {"/dev/sda1", `/mnt/a b\c`, "ext4", "ro"}}
	if d := cmp.Diff(want, parseMounts(text), cmp.AllowUnexported(mounted{})); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

const someStat = "42 (a) (b c) S 7 42 42 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 99 1000000 250 184467 1 1 0 0 0 0 0"

func TestParseStat(t *testing.T) {
	got, err := parseStat(someStat, 4096)
	want := process{pid: 42, ppid: 7, state: "S", rss: 250 * 4096, command: "[a) (b c]"}
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, bad := range []string{"", "x", ")(", "1 (a) S", "x (a) S 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1"} {
		if _, err := parseStat(bad, 4096); err == nil {
			t.Errorf("took %q", bad)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add(someStat)
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := parseStat(s, 4096); err == nil && p.state == "" {
			t.Errorf("%q: %+v", s, p)
		}
	})
}

func TestSize(t *testing.T) {
	for _, tt := range []struct {
		bytes  uint64
		kib, h string
	}{{0, "0", "0B"}, {1, "1", "1B"}, {1024, "1", "1.0K"}, {1536, "2", "1.5K"}, {10 << 20, "10240", "10M"}, {3 << 40, "3221225472", "3.0T"}} {
		if a, b := size(tt.bytes, false), size(tt.bytes, true); a != tt.kib || b != tt.h {
			t.Errorf("%d: %s %s, want %s %s", tt.bytes, a, b, tt.kib, tt.h)
		}
	}
}

func TestPermissions(t *testing.T) {
	for _, tt := range []struct {
		mode fs.FileMode
		want string
	}{
		{0o644, "-rw-r--r--"},
		{fs.ModeDir | fs.ModeSticky | 0o777, "drwxrwxrwt"},
		{fs.ModeSetuid | fs.ModeSetgid | 0o755, "-rwsr-sr-x"},
		{fs.ModeSetuid | fs.ModeSticky | 0o600, "-rwS-----T"},
		{fs.ModeSymlink | 0o777, "lrwxrwxrwx"},
		{fs.ModeDevice | fs.ModeCharDevice | 0o660, "crw-rw----"},
		{fs.ModeDevice | 0o660, "brw-rw----"},
		{fs.ModeNamedPipe, "p---------"},
		{fs.ModeSocket, "s---------"},
	} {
		if got := permissions(tt.mode); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.mode, got, tt.want)
		}
	}
}

// An echo request as tcpdump and other hosts want it: RFC 792, with the sum of RFC 1071.
func TestEcho(t *testing.T) {
	b := echo(0x1234, 1, []byte("abc"))
	if checksum(b) != 0 {
		t.Errorf("the sum over %x does not come out", b)
	}
	if got, want := fmt.Sprintf("%x", b), "0800216812340001616263"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestParseRoute(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"default", "via", "10.0.0.1", "dev", "eth0", "metric", "5"}, "0.0.0.0/0 10.0.0.1 5"},
		{[]string{"10.1.2.3/8", "dev", "eth0"}, "10.0.0.0/8 <nil> 0"},
		{[]string{"default", "via", "fd00::1"}, "::/0 fd00::1 0"},
	} {
		r, err := parseRoute(tt.args)
		if err != nil {
			t.Errorf("%v: %v", tt.args, err)
			continue
		}
		if got := fmt.Sprintf("%v %v %d", r.Dst, r.Gw, r.Priority); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.args, got, tt.want)
		}
	}
	for _, bad := range [][]string{nil, {"via", "10.0.0.1"}, {"default", "via", "x"}, {"10.0.0.0/99"}, {"default", "metric", "x"}} {
		if _, err := parseRoute(bad); !errors.Is(err, errUsage) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

func TestWithoutLevels(t *testing.T) {
	if got := withoutLevels("<6>[    0.0] a <1>\n<12>b\n"); got != "[    0.0] a <1>\nb\n" {
		t.Errorf("got %q", got)
	}
}

func TestBasic(t *testing.T) {
	for in, want := range map[string]string{
		"a(b)": `a\(b\)`, `a\(b\)\|c`: "a(b)|c", "a+b?": `a\+b\?`, `x\{2\}`: "x{2}", "[(+]*": "[(+]*", "[]+]+": `[]+]\+`,
		"[^]+]": "[^]+]", `\.`: `\.`, `\`: `\`, "": "", "[": "[",
	} {
		if got := basic(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func FuzzBasic(f *testing.F) {
	f.Add("[^]+](x)\\(y")
	f.Fuzz(func(_ *testing.T, s string) { basic(s) })
}
