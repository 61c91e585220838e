package monitor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// outputMost bounds what is kept of a program's output.
	outputMost = 16 << 10
	// outputWait is how long a program that has ended may leave its output open in a process of its own.
	outputWait = 500 * time.Millisecond
)

// ran is how a program ended.
type ran struct {
	output string
	code   int
	err    error // it could not be run, ran too long, or was killed
}

// run runs a program in a process group of its own, which is killed whole when ctx ends.
func run(ctx context.Context, words []string, dirs []string, env map[string]string, stdin string) ran {
	path, err := find(words[0], dirs)
	if err != nil {
		return ran{err: err}
	}
	cmd := exec.CommandContext(ctx, path, words[1:]...)
	cmd.Env = os.Environ()
	for _, name := range slices.Sorted(maps.Keys(env)) {
		cmd.Env = append(cmd.Env, name+"="+env[name])
	}
	cmd.Dir = "/"
	cmd.Stdin = strings.NewReader(stdin)
	out := &beginning{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = outputWait
	if err := cmd.Start(); err != nil {
		return ran{err: err}
	}
	// The owner daemon is spared when memory runs out; what it starts must not be (proc_pid_oom_score_adj(5) is inherited).
	// Best effort: a process may always raise it.
	os.WriteFile(filepath.Join(proc, fmt.Sprint(cmd.Process.Pid), "oom_score_adj"), []byte("0"), 0)
	err = cmd.Wait()
	r := ran{output: out.String(), code: cmd.ProcessState.ExitCode()}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		r.err = errors.New("it did not end in time")
	case r.code < 0:
		r.err = fmt.Errorf("it was ended by %v", err)
	case err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay):
		r.err = err
	}
	return r
}

// find is the path of a program: as it is, in one of dirs, or in PATH.
func find(name string, dirs []string) (string, error) {
	if !strings.Contains(name, "/") {
		for _, dir := range dirs {
			path := filepath.Join(dir, name)
			if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
				return path, nil
			}
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is not here", name)
	}
	return path, nil
}

// beginning keeps the beginning of what is written.
type beginning struct{ bytes.Buffer }

func (b *beginning) Write(p []byte) (int, error) {
	if room := outputMost - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}
