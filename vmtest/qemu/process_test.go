package qemu

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// parentEnv makes the test binary the parent of a process, to be killed.
const parentEnv = "MASTHEAD_TEST_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(parentEnv) != "" {
		p, err := Start(context.Background(), []string{"sleep", "60"}, "/dev/null")
		fmt.Println(p.PID(), err)
		select {}
	}
	goleak.VerifyTestMain(m)
}

func TestProcess(t *testing.T) {
	log := t.TempDir() + "/log"
	for _, test := range []struct{ script, want string }{
		{"echo fine", ""},
		{"echo out; echo no such disk >&2; exit 3", "QEMU: exit status 3: no such disk"},
	} {
		p, err := Start(t.Context(), []string{"sh", "-c", test.script}, log)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := p.Wait(); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%q ended with %q, want %q", test.script, got, test.want)
		}
	}
	said, _ := os.ReadFile(log)
	if string(said) != "fine\nout\nno such disk\n" {
		t.Errorf("log: %q", said)
	}
	if _, err := Start(t.Context(), []string{"/no/such/qemu"}, log); err == nil {
		t.Error("a program that is not there was started")
	}
}

func TestProcessEnds(t *testing.T) {
	for name, end := range map[string]func(*Process, context.CancelFunc){
		"by Kill":        func(p *Process, _ context.CancelFunc) { p.Kill() },
		"by its context": func(_ *Process, cancel context.CancelFunc) { cancel() },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		p, err := Start(ctx, []string{"sleep", "60"}, "/dev/null")
		if err != nil {
			t.Fatal(err)
		}
		end(p, cancel)
		if err := p.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Errorf("%s: %v, want killed", name, err)
		}
		p.Kill() // once more does no harm
		cancel()
	}
}

func TestProcessDiesWithItsParent(t *testing.T) {
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), parentEnv+"=1")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	parent.Process.Kill() // SIGKILL: it cannot clean up
	parent.Wait()
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.Fields(line)[0])
	if err != nil {
		t.Fatalf("parent said %q", line)
	}
	for deadline := time.Now().Add(5 * time.Second); alive(pid); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("process %d outlives its parent", pid)
		}
	}
}

// alive reports whether pid runs; an orphan that nobody reaps is dead enough.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}
