package service

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func sh(line string) command {
	return command{argv: []string{"sh", "-c", line}, env: []string{"PATH=" + path}}
}

func TestExecute(t *testing.T) {
	o, err := execute(t.Context(), sh("echo out; echo err >&2; exit 3"))
	if err != nil || o.exit != 3 || o.output != "out\nerr\n" {
		t.Errorf("%+v, %v", o, err)
	}
	c := sh("echo out; echo err >&2")
	c.apart = true
	o, err = execute(t.Context(), c)
	if err != nil || o.output != "out\n" || o.errors != "err\n" {
		t.Errorf("apart: %+v, %v", o, err)
	}
	if o, err = execute(t.Context(), sh("seq 200000")); err != nil || len(o.output) != captureMost || !strings.HasSuffix(o.output, "\n200000\n") {
		t.Errorf("much: %d bytes, %v", len(o.output), err)
	}
	if _, err = execute(t.Context(), sh("kill -9 $$")); err == nil || err.Error() != "sh: ended by a signal: killed" {
		t.Errorf("killed: %v", err)
	}
	if _, err = execute(t.Context(), command{argv: []string{"/etc/passwd"}}); !errors.Is(err, errNotThere) {
		t.Errorf("no program: %v", err)
	}
}

// TestExecuteKillsTheGroup: when the time is up all that was started goes, also what ignores SIGTERM.
func TestExecuteKillsTheGroup(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 200*time.Millisecond, errTest)
	defer cancel()
	_, err := execute(ctx, sh("cd "+dir+`; trap '' TERM; (echo $(exec sh -c 'echo $PPID') >child; sleep 100) & echo $$ >first; sleep 100; sleep 100`))
	if !errors.Is(err, errTest) {
		t.Fatalf("ended with %v", err)
	}
	for _, name := range []string{"child", "first"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
		if err != nil {
			t.Fatal(err)
		}
		gone := func() bool {
			stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
			return err != nil || strings.Contains(string(stat), ") Z ")
		}
		for until := time.Now().Add(5 * time.Second); !gone(); time.Sleep(time.Millisecond) { // a killed orphan goes when PID 1 has time
			if time.Now().After(until) {
				t.Errorf("%s lives on", name)
				break
			}
		}
	}
}

// TestExecuteLeavesDaemons: what is left in the background does not hold the action up, and can go on writing to the output
// that it has inherited, as long as it likes, without dying of it.
func TestExecuteLeavesDaemons(t *testing.T) {
	dir := t.TempDir()
	began := time.Now()
	o, err := execute(t.Context(), sh("cd "+dir+`; echo started; (i=0; while test ! -e go; do sleep 0.01; done; dd if=/dev/zero bs=1024 count=200 conv=noerror; echo late; echo alive >alive; exec sleep 100) & echo $! >pid`))
	if err != nil || o.exit != 0 || o.output != "started\n" {
		t.Fatalf("%+v, %v", o, err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	data, err := os.ReadFile(filepath.Join(dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	group, err := syscall.Getpgid(pid)
	if err != nil || group == syscall.Getpgrp() {
		t.Fatalf("group %d, %v", group, err)
	}
	defer syscall.Kill(-group, syscall.SIGKILL)
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	alive := func() bool { _, err := os.Stat(filepath.Join(dir, "alive")); return err == nil }
	for until := time.Now().Add(10 * time.Second); !alive(); time.Sleep(5 * time.Millisecond) { // nobody tells
		if time.Now().After(until) {
			t.Fatal("what was left in the background died, or waits for ever, when it wrote")
		}
	}
}

func TestReasonOf(t *testing.T) {
	tests := []struct{ output, want string }{
		{"", ""},
		{"one\n\n two\tx \n", "one; two x"},
		{"1\n2\n3\n4\n5\n6\n", "3; 4; 5; 6"},
		{"\x1b[31mred\xff", "[31mred?"},
		{strings.Repeat("ä", 500), "…" + strings.Repeat("ä", 400)},
	}
	for _, test := range tests {
		if diff := cmp.Diff(test.want, reasonOf(test.output)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.output, diff)
		}
	}
}
