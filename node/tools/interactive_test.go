package tools

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"masthead/vmtest/prerequisite"

	"golang.org/x/sys/unix"
)

func TestInteractiveOnPipe(t *testing.T) {
	got := run(t, t.TempDir(), "x=1\nif true\nthen echo $x\nfi\necho )\necho go on\nfalse\n", nil, "sh", "-i")
	out := regexp.MustCompile(`[^\s]*# `).ReplaceAllString(got.Out, "$ ")
	if want := "$ $ > > 1\n$ $ go on\n$ $ "; out != want || got.Code != 1 || !strings.Contains(got.Err, "1:6") {
		t.Errorf("got %q (%q), want %q; code %d, %s", out, got.Out, want, got.Code, got.Err)
	}
}

// terminal is a person at a console.
type terminal struct {
	t    *testing.T
	f    *os.File
	seen []byte
}

func shellOnTerminal(t *testing.T, dir string) (*terminal, *exec.Cmd) {
	t.Helper()
	f, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	prerequisite.Have(t, err == nil, "/dev/ptmx")
	t.Cleanup(func() { f.Close() })
	rc, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var slave *os.File
	rc.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err != nil {
			return
		}
		var n int
		if n, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN); err == nil {
			slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{"sh"}
	cmd.Dir = dir
	cmd.Env = []string{"HOME=/root", "GORACE=atexit_sleep_ms=0"}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return &terminal{t: t, f: f}, cmd
}

func (tm *terminal) keys(s string) { io.WriteString(tm.f, s) }

// expect reads until what came since the last call matches.
func (tm *terminal) expect(pattern string) {
	tm.t.Helper()
	re := regexp.MustCompile(pattern)
	tm.f.SetReadDeadline(time.Now().Add(time.Minute))
	buf := make([]byte, 4096)
	for {
		if m := re.FindIndex(tm.seen); m != nil {
			tm.seen = tm.seen[m[1]:]
			return
		}
		n, err := tm.f.Read(buf)
		if err != nil {
			tm.t.Fatalf("waiting for %q: %v, after %q", pattern, err, tm.seen)
		}
		tm.seen = append(tm.seen, bytes.ReplaceAll(buf[:n], []byte("\r"), nil)...)
	}
}

func TestShellOnTerminal(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "long-directory"), 0o755); err != nil {
		t.Fatal(err)
	}
	tm, cmd := shellOnTerminal(t, dir)
	prompt := `:` + regexp.QuoteMeta(dir) + `# `
	tm.expect(prompt)
	tm.keys("echo h''i\r")
	tm.expect(`hi\n.*` + prompt)

	// Ctrl-C while a command runs: it dies, the shell does not.
	tm.keys("sleep 1''00; echo no''t\r")
	waitForChild(t, cmd.Process.Pid)
	tm.keys("\x03")
	tm.expect(prompt)
	tm.keys("echo $''?\r")
	tm.expect(`\?\n130\n|\$''\?\n`)
	tm.expect(prompt)

	// In a loop without commands.
	tm.keys("echo lo''op; while true; do :; done\r")
	tm.expect("loop\n")
	tm.keys("\x03")
	tm.expect(prompt)

	// At the prompt: the line is gone.
	tm.keys("echo wrong")
	tm.expect("wrong")
	tm.keys("\x03")
	tm.expect(prompt)
	tm.keys("echo ri''ght\r")
	tm.expect(`right\n`)
	tm.expect(prompt)

	// Tab, and a change of directory in the prompt.
	tm.keys("cd lon\t\r")
	tm.expect(regexp.QuoteMeta(dir) + `/long-directory# `)
	tm.keys("unam\t-s\r")
	tm.expect(`Linux\n`)

	tm.keys("exit 5\r")
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 5 {
		t.Errorf("ended with %v", err)
	}
}

// waitForChild polls until the process has a child that runs: it cannot tell us.
func waitForChild(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		all, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
		for _, f := range all {
			b, _ := os.ReadFile(f)
			for _, child := range strings.Fields(string(b)) {
				if c, _ := os.ReadFile("/proc/" + child + "/cmdline"); strings.HasPrefix(string(c), "sleep\x00") {
					return
				}
			}
		}
	}
	t.Fatal("no child")
}

func TestComplete(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"alpha", "alpine"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "alpha", "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	sh, err := newShell(t.Context(), New(Hooks{}), Stdio{Dir: dir, Out: io.Discard, Err: io.Discard}, invocation{})
	if err != nil {
		t.Fatal(err)
	}
	sh.script(strings.NewReader("true"), "sh") // sets PWD
	for _, tt := range []struct{ line, want string }{
		{"una", "uname "},
		{"mk", "mk"}, // mkdir or mktemp
		{"ls al", "ls alp"},
		{"ls alpha", "ls alpha/"},
		{"ls alpha/", "ls alpha/file "},
		{"ls; una", "ls; uname "},
		{"ls | una", "ls | uname "},
		{"cat nosuch", "cat nosuch"},
		{"cat /proc/self/cmdl", "cat /proc/self/cmdline "},
		{"", ""},
	} {
		if got, pos := sh.complete(tt.line, len(tt.line)); got != tt.want || pos != len(tt.want) {
			t.Errorf("%q: %q at %d, want %q", tt.line, got, pos, tt.want)
		}
	}
}
