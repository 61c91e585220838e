package tools

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"masthead/vmtest/prerequisite"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

// TestMain makes the test binary what masthead is: called by the name of a tool, it is that tool.
func TestMain(m *testing.M) {
	if t, ok := Find(filepath.Base(os.Args[0])); ok {
		os.Exit(t.Run(context.Background(), Process(), os.Args[1:]))
	}
	goleak.VerifyTestMain(m)
}

// result is how a call ended.
type result struct {
	Out, Err string
	Code     int
}

// run calls a tool of ours as a process, in dir.
func run(t *testing.T, dir, stdin string, attr *syscall.SysProcAttr, name string, args ...string) result {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Args = append([]string{name}, args...)
	cmd.Dir, cmd.SysProcAttr = dir, attr
	// The race detector would have each process sleep for a second at its end.
	cmd.Env = []string{"HOME=/root", "TMPDIR=" + dir, "GORACE=atexit_sleep_ms=0"}
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return result{out.String(), errs.String(), exit.ExitCode()}
	}
	if err != nil {
		t.Fatal(err)
	}
	return result{out.String(), errs.String(), 0}
}

func TestTable(t *testing.T) {
	names := Names()
	if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) {
		t.Errorf("not sorted, or twice: %v", names)
	}
	for i, tool := range Table() {
		if tool.Name != names[i] || tool.Summary == "" || tool.Run == nil {
			t.Errorf("%+v", tool)
		}
		if got, ok := Find(tool.Name); !ok || got.Name != tool.Name {
			t.Errorf("cannot find %s", tool.Name)
		}
		if slices.Contains([]string{"[", "echo", "printf", "test", "true", "false", "pwd"}, tool.Name) {
			continue // they take --help for a word
		}
		var out, errs bytes.Buffer
		code := tool.Run(t.Context(), Stdio{In: strings.NewReader(""), Out: &out, Err: &errs}, []string{"--help"})
		if code != 0 || strings.Count(out.String(), "\n") != 1 || !strings.HasPrefix(out.String(), tool.Name) || errs.Len() > 0 {
			t.Errorf("%s --help: %d %q %q", tool.Name, code, out.String(), errs.String())
		}
	}
	if _, ok := Find("masthead"); ok {
		t.Error("masthead itself is a tool")
	}
}

// Scripts as people write them, each tool a process of its own.
func TestScripts(t *testing.T) {
	tests := []struct {
		name, script string
		want         result
	}{
		{"pipe", `printf 'b\na\nab\n' | grep a | wc -l`, result{Out: "      2\n"}},
		{"status of the last", `true | false; echo $?`, result{Out: "1\n"}},
		{"exit", `exit 7`, result{Code: 7}},
		{"errexit", `set -e; false; echo no`, result{Code: 1}},
		{"not found", `nosuch; echo $?`, result{Out: "127\n", Err: "sh: nosuch: not found\n"}},
		{"syntax error", `if`, result{Code: 2, Err: "sh:1:1: `if` must be followed by a statement list\n"}},
		{"cd and relative paths", `mkdir -p d/e && cd d && touch e/f && cp e/f g && ls && cd .. && ls d/e`, result{Out: "e\ng\nf\n"}},
		{"links", `echo x >a; ln -s a b; ln a c; readlink b; cat b c; ln -sf c b; readlink b; readlink a`,
			result{Out: "a\nx\nx\nc\n", Code: 1}},
		{"redirection", `echo one >f; echo two >>f; cat <f; cat nosuch 2>/dev/null || echo none`, result{Out: "one\ntwo\nnone\n"}},
		{"function and loop", `f() { for i in 1 2 3; do echo $1$i; done; }; f x | tail -1`, result{Out: "x3\n"}},
		{"head and tail", `for i in 1 2 3 4 5; do echo $i; done >f; head -2 f; tail -n 1 f; head -n 1 <f`, result{Out: "1\n2\n5\n1\n"}},
		{"xargs calls tools by the PATH", `mkdir bin; ln -s /proc/self/exe bin/ls; touch q; echo q | PATH=$PWD/bin xargs ls -A`, result{Out: "q\n"}},
		{"find", `mkdir -p a/b; touch a/x.go a/b/y.go; find a -name '*.go'; find a -type d -maxdepth 1; cd a; find`,
			result{Out: "a/b/y.go\na/x.go\na\na/b\n.\n./b\n./b/y.go\n./x.go\n"}},
		{"kill is a tool", `sh -c 'kill $$'; echo $?; sh -c 'kill -KILL $$'; echo $?; kill -s 2>/dev/null || echo what`,
			result{Out: "143\n137\nwhat\n"}},
		{"gzip in a pipe", `echo hello | gzip | zcat; echo file >f; gzip f; ls; gunzip f.gz; cat f`, result{Out: "hello\nf.gz\nfile\n"}},
		{"tar", `mkdir d e; echo x >d/f; tar cf a.tar d; tar xf a.tar e; cat e/d/f; tar -tf a.tar | tail -1`, result{Out: "x\nd/f\n"}},
		{"sums", `printf abc | sha256sum`, result{Out: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad -\n"}},
		{"env", `A=1 env B=2 sh -c 'echo $A$B'; env -i PATH=/bin X=y env | grep X`, result{Out: "12\nX=y\n"}},
		{"arguments", `sh -c 'echo $0 $1 "$2"' name a "b  c"`, result{Out: "name a b  c\n"}},
		{"grep's codes", `echo a >f; grep -q a f; echo $?; grep b f; echo $?; grep -c a f; grep a nosuch 2>/dev/null; echo $?`,
			result{Out: "0\n1\n1\n2\n"}},
		{"ls knows what is missing", `touch a; ls a nosuch`, result{Out: "a\n", Err: "ls: lstat nosuch: no such file or directory\n", Code: 1}},
		{"mkdir says so", `mkdir a; mkdir a 2>/dev/null; echo $?`, result{Out: "1\n"}},
		{"sleep and which", `sleep 0; sleep x 2>/dev/null; echo $?; which nosuch; echo $?`, result{Out: "2\n1\n"}},
		{"a link in /bin that is not there", `/usr/sbin/uname`, result{Out: "Linux\n"}},
		{"modes", `touch f; chmod 640 f; ls -l f | grep -c '^-rw-r-----'`, result{Out: "1\n"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := run(t, t.TempDir(), "", nil, "sh", "-c", tt.script)
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

func TestScriptFileAndInput(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "s"), []byte("#!/bin/sh\necho $0 $# $2\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(result{Out: "s 2 b\n", Code: 3}, run(t, dir, "", nil, "sh", "s", "a", "b")); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if d := cmp.Diff(result{Out: "hi\n"}, run(t, dir, "echo hi\n", nil, "sh")); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	// Builtins as programs.
	if got := run(t, dir, "", nil, "test", "-d", "/"); got != (result{}) {
		t.Errorf("got %+v", got)
	}
	if got := run(t, dir, "", nil, "[", "-f", "/", "]"); got != (result{Code: 1}) {
		t.Errorf("got %+v", got)
	}
	if got := run(t, dir, "", nil, "echo", "-n", "$x  '"); got != (result{Out: "$x  '"}) {
		t.Errorf("got %+v", got)
	}
	if got := run(t, dir, "", nil, "sh", "nosuch"); got.Code != 127 {
		t.Errorf("got %+v", got)
	}
	if got := run(t, dir, "", nil, "sh", "-Z"); got.Code != 2 {
		t.Errorf("got %+v", got)
	}
	if got := run(t, dir, "", nil, "sh", "-e", "-c", "false; echo no"); got.Code != 1 || got.Out != "" {
		t.Errorf("got %+v", got)
	}
}

// Without /proc there is no binary to run, and mount is what one needs.
func TestWithoutProc(t *testing.T) {
	dir := t.TempDir()
	var out, errs bytes.Buffer
	inv := invocation{name: "sh"}
	sh, err := newShell(t.Context(), New(Hooks{}), Stdio{Out: &out, Err: &errs, Dir: dir}, inv)
	if err != nil {
		t.Fatal(err)
	}
	sh.self = "/nonexistent"
	code := sh.script(strings.NewReader("mkdir d; cd d; touch f; ls; ls nosuch || mount x 2>/dev/null; echo $?"), "sh")
	if d := cmp.Diff(result{Out: "f\n2\n", Err: "ls: lstat " + dir + "/d/nosuch: no such file or directory\n"},
		result{out.String(), errs.String(), code}); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestUsageErrors(t *testing.T) {
	for _, args := range [][]string{{"ls", "-Z"}, {"ln"}, {"mount", "only"}, {"umount"}, {"kill"}, {"kill", "-NOSUCH", "1"},
		{"sleep"}, {"hostname", "a", "b"}, {"ip"}, {"ip", "tunnel"}, {"ip", "addr", "add", "10.0.0.1/8"}, {"ping"}, {"wget"},
		{"wget", "ftp://x/"}, {"modprobe"}, {"rmmod"}, {"reboot", "now"}, {"grep"}, {"grep", "-E", "("}, {"head", "-n", "x"},
		{"find", ".", "-exec", "x"}, {"readlink"}, {"chroot"}, {"which"}} {
		var out, errs bytes.Buffer
		tool, ok := Find(args[0])
		if !ok {
			t.Fatalf("no %s", args[0])
		}
		code := tool.Run(t.Context(), Stdio{In: strings.NewReader(""), Out: &out, Err: &errs}, args[1:])
		if code != exitUsage || !strings.Contains(errs.String(), "usage: "+args[0]) || out.Len() > 0 {
			t.Errorf("%v: %d %q %q", args, code, out.String(), errs.String())
		}
	}
}

// What shows the machine works on this one, whatever it shows.
func TestShowTheMachine(t *testing.T) {
	for name, want := range map[string]string{
		"ps": `(?m)^1 +0 `, "df": `Mounted on`, "free": `(?m)^ *memory +\d+`, "lsmod": `^MODULE`, "lsblk": `^NAME`,
		"uname -a": `^Linux `, "uptime": `^up `, "date": `^\w{3} \d{4}-`, "mount": ` on /proc type proc `,
		"hostname": `.`, "df -h /": `\n.* / \(`, "ip link": `lo: `, "ip -4 addr show lo": `^1: lo: `,
		"ls -la /dev/null": `^crw.* 1,3 .*/dev/null`,
	} {
		t.Run(name, func(t *testing.T) {
			words := strings.Fields(name)
			got := run(t, t.TempDir(), "", nil, words[0], words[1:]...)
			if ok, err := regexp.MatchString(want, got.Out); err != nil || !ok || got.Code != 0 || got.Err != "" {
				t.Errorf("%+v", got)
			}
		})
	}
}

// Mounting and networking, in namespaces of their own.
func TestInNamespaces(t *testing.T) {
	prerequisite.Root(t)
	realIP := prerequisite.Program(t, "ip")
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS}
	script := `
set -e
mount -o rprivate /
mkdir m b
mount -t tmpfs -o size=1m,nosuid,mode=700 none m
mount -t tmpfs | grep -c ' on '$PWD'/m type tmpfs (rw,nosuid,.*size=1024k,mode=700.*)$'
touch m/f
mount -o bind m b
ls b
mount -o remount,ro,bind b
touch b/g 2>/dev/null || echo read-only
umount b m
ls m
hostname n07
hostname
REAL_IP link add v0 type veth peer name v1
ip link set lo up
ip link set v1 up
ip link set v0 mtu 1400 up
ip addr add 10.1.2.3/24 dev v0
ip addr add 10.1.2.4/24 dev v0
ip addr del 10.1.2.4/24 dev v0
ip -4 addr show dev v0 | tail -1
ip route add 10.9.0.0/16 via 10.1.2.9
ip route add default via 10.1.2.9 dev v0 metric 7
ip route del 10.9.0.0/16
ip route
ip link show v0 | grep -c 'v0: up mtu 1400 veth'
ping -c 1 10.1.2.3 | grep -c '^10.1.2.3: 1 in '
ping -c 1 -W 0 10.77.1.1 >/dev/null || echo silence
`
	got := run(t, t.TempDir(), "", attr, "sh", "-c", strings.ReplaceAll(script, "REAL_IP", realIP))
	want := result{Out: `1
f
read-only
n07
    inet 10.1.2.3/24 scope universe
default via 10.1.2.9 dev v0 metric 7
10.1.2.0/24 dev v0 src 10.1.2.3
1
1
silence
`}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestWget(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/file":
			w.Write([]byte("content"))
		case "/half":
			w.Header().Set("Content-Length", "100")
			w.Write([]byte("half"))
		default:
			http.NotFound(w, r)
		}
	}))
	defer srv.Close()
	dir := t.TempDir()
	if got := run(t, dir, "", nil, "wget", "-q", srv.URL+"/file"); got != (result{}) {
		t.Errorf("%+v", got)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(b) != "content" {
		t.Errorf("%q, %v", b, err)
	}
	if got := run(t, dir, "", nil, "wget", "-O", "-", srv.URL+"/file"); got.Out != "content" || got.Code != 0 {
		t.Errorf("%+v", got)
	}
	if got := run(t, dir, "", nil, "wget", srv.URL+"/nosuch"); got.Code != 1 || !strings.Contains(got.Err, "404 Not Found") {
		t.Errorf("%+v", got)
	}
	if got := run(t, dir, "", nil, "wget", srv.URL+"/half"); got.Code != 1 || !strings.Contains(got.Err, "unexpected EOF") {
		t.Errorf("%+v", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "half")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("half a file was left: %v", err)
	}
}

func TestHooks(t *testing.T) {
	var got []string
	s := New(Hooks{
		Modprobe: func(_ context.Context, name, params string) error {
			got = append(got, name+" "+params)
			if name == "bad" {
				return errors.New("no such module")
			}
			return nil
		},
		Power: func(p Power) error { got = append(got, p.Signal().String()); return nil },
	})
	var errs bytes.Buffer
	call := func(name string, args ...string) int {
		tool, _ := s.Find(name)
		return tool.Run(t.Context(), Stdio{Err: &errs}, args)
	}
	codes := []int{call("modprobe", "nbd", "max_part=4", "nbds_max=2"), call("modprobe", "bad"), call("reboot"), call("poweroff")}
	if d := cmp.Diff([]int{0, 1, 0, 0}, codes); d != "" {
		t.Errorf("codes -want +got:\n%s", d)
	}
	if d := cmp.Diff([]string{"nbd max_part=4 nbds_max=2", "bad ", "interrupt", "user defined signal 2"}, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if errs.String() != "modprobe: load bad: no such module\n" {
		t.Errorf("said %q", errs.String())
	}
}
