package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"masthead/images"
)

// killGrace is what a process group gets between SIGTERM and SIGKILL.
const killGrace = 2 * time.Second

// command is a program that is an action on a resource.
type command struct {
	argv []string
	env  []string
	// apart: the standard output is wanted for itself, not together with the errors.
	apart bool
}

// outcome is how a program ended.
type outcome struct {
	exit   int
	output string // with apart only the standard output; the last of it where it was much
	errors string // with apart
}

// runner executes a command. It returns only after the program has ended; when ctx ends before, its process group is killed
// and the error is the cause. An error is that the program did not run to its end; its own refusal is outcome.exit.
type runner func(ctx context.Context, c command) (outcome, error)

// errNotThere is a program that cannot be executed.
var errNotThere = errors.New("cannot be executed")

// execute is the runner of production. What a program leaves in the background goes on, and can go on writing: see capture.
func execute(ctx context.Context, c command) (outcome, error) {
	path, err := find(c.argv[0], c.env)
	if err != nil {
		return outcome{}, err
	}
	out, err := newCapture()
	if err != nil {
		return outcome{}, err
	}
	defer out.close()
	errs := out
	if c.apart {
		if errs, err = newCapture(); err != nil {
			return outcome{}, err
		}
		defer errs.close()
	}
	cmd := &exec.Cmd{Path: path, Args: c.argv, Env: c.env, Dir: "/", Stdout: out.theirs, Stderr: errs.theirs,
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true}}
	if err := begin(cmd); err != nil {
		return outcome{}, fmt.Errorf("%s: %w: %w", c.argv[0], errNotThere, err)
	}
	// The daemon is spared when memory runs out; what it starts is not to be.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", cmd.Process.Pid), []byte("0"), 0o644)
	cause := wait(ctx, cmd)
	o := outcome{exit: cmd.ProcessState.ExitCode(), output: out.finish()}
	if c.apart {
		o.errors = errs.finish()
	}
	if cause != nil {
		return o, cause
	}
	if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return o, fmt.Errorf("%s: ended by a signal: %v", c.argv[0], s.Signal())
	}
	return o, nil
}

// wait returns when the program has ended, and with the cause if that is because ctx has.
func wait(ctx context.Context, cmd *exec.Cmd) (cause error) {
	pid := cmd.Process.Pid
	ended := make(chan struct{})
	go func() { // ends with the process
		defer close(ended)
		for {
			// Without reaping it: its number, and so that of its group, stays taken until all of the group were killed.
			if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != unix.EINTR {
				return
			}
		}
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		cause = context.Cause(ctx)
		_ = unix.Kill(-pid, unix.SIGTERM)
		grace := time.NewTimer(killGrace)
		defer grace.Stop()
		select {
		case <-ended:
		case <-grace.C:
		}
		_ = unix.Kill(-pid, unix.SIGKILL) // also those that outlive the first of the group
		<-ended
	}
	_ = cmd.Wait() // its state says it all
	return cause
}

// begin is cmd.Start. A script that was written just now may be open for writing still in a process that another command
// is about to become (golang.org/issue/22315).
func begin(cmd *exec.Cmd) error {
	for try := 0; ; try++ {
		err := cmd.Start()
		if err == nil || try == 10 || !errors.Is(err, syscall.ETXTBSY) {
			return err
		}
		again := *cmd
		*cmd = exec.Cmd{Path: again.Path, Args: again.Args, Env: again.Env, Dir: again.Dir, Stdout: again.Stdout, Stderr: again.Stderr, SysProcAttr: again.SysProcAttr}
		time.Sleep(time.Duration(1+try) * time.Millisecond) // there is no event for "that process has executed"
	}
}

// path is where programs are looked for: init scripts and agents expect the administrator's.
const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// find looks a program up in the PATH that it will have.
func find(name string, env []string) (string, error) {
	dirs := path
	for _, e := range env {
		if p, ok := strings.CutPrefix(e, "PATH="); ok {
			dirs = p
		}
	}
	candidates := []string{name}
	if !strings.Contains(name, "/") {
		candidates = nil
		for dir := range strings.SplitSeq(dirs, ":") {
			candidates = append(candidates, dir+"/"+name)
		}
	}
	for _, file := range candidates {
		st, err := os.Stat(file)
		if err != nil || !st.Mode().IsRegular() {
			continue
		}
		if st.Mode()&0o111 == 0 {
			return "", fmt.Errorf("%s: %w: it is not executable", file, errNotThere)
		}
		return file, nil
	}
	return "", fmt.Errorf("%s: %w: %w", name, errNotThere, fs.ErrNotExist)
}

// shell is the machine's own, or ours where it has none: as a tool of a minimal image this program is one.
func shell(env []string, line string) []string {
	if _, err := find("sh", env); err == nil {
		return []string{"sh", "-c", line}
	}
	return []string{images.RunBinary, "sh", "-c", line}
}
