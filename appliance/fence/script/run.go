package script

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxOutput is kept of what a program writes; the longest metadata in Debian has 24 KiB.
	maxOutput = 256 << 10
	// pipesOpen is how long a process that escaped from the group may hold the pipes of one that has ended.
	pipesOpen = 500 * time.Millisecond
)

// result is how a program ended.
type result struct {
	code           int
	stdout, stderr string
}

// run starts a program, gives it the lines, and waits for its end. The program leads a process group of its own, of which
// nothing is left when run returns: not after ctx has ended, and not after a program that leaves a child behind. Only a
// program that the kernel holds (state D) keeps run waiting beyond ctx.
func run(ctx context.Context, path string, lines []string) (result, error) {
	var stdout, stderr head
	cmd := exec.CommandContext(ctx, path)
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Dir = "/"
	// Nothing of our own environment, which has secrets of systemd's (credentials, notify socket). Old programs call their
	// helpers by name.
	cmd.Env = []string{"PATH=" + filepath.Dir(path) + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C", "LC_ALL=C", "HOME=/"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = pipesOpen
	if err := cmd.Start(); err != nil {
		return result{}, err
	}
	// Before the leader is reaped its number cannot be another group's.
	for {
		err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	err := cmd.Wait()
	r := result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
	switch exit := (*exec.ExitError)(nil); {
	case ctx.Err() != nil:
		return r, fmt.Errorf("was killed: %w", context.Cause(ctx))
	case errors.As(err, &exit) && exit.Exited(), err == nil:
		return r, nil
	case errors.Is(err, exec.ErrWaitDelay):
		return r, errors.New("left a process behind that holds its output")
	default:
		return r, err
	}
}

// why is the last words of a program, for people.
func (r result) why() string {
	text := strings.TrimSpace(r.stderr)
	if text == "" {
		text = strings.TrimSpace(r.stdout)
	}
	if i := strings.LastIndexByte(text, '\n'); i >= 0 {
		text = text[i+1:]
	}
	text = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(text, "?"))
	if len(text) > 200 {
		text = text[:200] + "…"
	}
	if text == "" {
		return fmt.Sprintf("exit code %d", r.code)
	}
	return fmt.Sprintf("exit code %d: %s", r.code, text)
}

// head keeps the beginning of what is written, and takes the rest so that no program hangs on it. The buffer is not
// embedded: io.Copy would find its ReadFrom, which has no bound.
type head struct{ kept bytes.Buffer }

func (h *head) Write(p []byte) (int, error) {
	h.kept.Write(p[:min(len(p), maxOutput-h.kept.Len())])
	return len(p), nil
}

func (h *head) String() string { return h.kept.String() }
