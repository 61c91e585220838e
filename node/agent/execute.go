package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"masthead/images"
	"masthead/node/wire"
)

const (
	// killGrace is what a process group gets between SIGTERM and SIGKILL.
	killGrace = 2 * time.Second
	// lastWords is how long output is waited for after a command has ended: what it left running in the background may
	// hold its output open for ever.
	lastWords = time.Second
	// exitNotFound and exitSignal are what shells use (POSIX, 2.8.2).
	exitNotFound = 127
	exitSignal   = 128
)

// execute runs a program, a shell line or a script in the running root, in a session of its own, and gives how it ended.
// When ctx ends its process group is killed. What it leaves in the background goes on.
func execute(ctx context.Context, c wire.Command, input io.Reader, out *outlet, scripts string) wire.CommandResult {
	env := environment("/etc/environment", c.Env)
	argv, cleanup, err := program(c, env, scripts)
	if err != nil {
		return wire.CommandResult{Exit: exitNotFound, Error: err.Error()}
	}
	defer cleanup()
	p := &process{input: input, out: out}
	defer p.close()
	if err := p.start(argv, env); err != nil {
		return wire.CommandResult{Exit: exitNotFound, Error: err.Error()}
	}
	state, cause := p.wait(ctx)
	return resultOf(state, cause)
}

// resultOf says how a process ended; cause is why it was killed, if it was.
func resultOf(state *os.ProcessState, cause error) wire.CommandResult {
	r := wire.CommandResult{Exit: state.ExitCode()}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		r.Exit, r.Error = exitSignal+int(status.Signal()), "ended by a signal: "+status.Signal().String()
	}
	if cause != nil {
		r.Error = cause.Error()
	}
	return r
}

// environment is what commands find: that of root's login, /etc/environment (which an SSH login has by PAM), and what
// was asked for. The later of two counts.
func environment(file string, more []string) []string {
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:" + filepath.Dir(images.RunBinary),
		"HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/sh",
	}
	data, err := os.ReadFile(file)
	if err == nil {
		for line := range strings.Lines(string(data)) {
			line = strings.TrimPrefix(strings.TrimSpace(line), "export ")
			if name, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(name, "#") {
				if n := len(value); n > 1 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
					value = value[1 : n-1]
				}
				env = append(env, name+"="+value)
			}
		}
	}
	return append(env, more...)
}

// program is the command line to execute, with the path of the program first.
func program(c wire.Command, env []string, scripts string) (argv []string, cleanup func(), err error) {
	nothing := func() {}
	switch {
	case c.Shell != "":
		return append(shell(env), "-c", c.Shell), nothing, nil
	case c.Script != "":
		file, err := writeScript(scripts, c.Script)
		if err != nil {
			return nil, nil, fmt.Errorf("write the script: %w", err)
		}
		argv = append([]string{file}, c.Argv...)
		if !strings.HasPrefix(c.Script, "#!") {
			argv = append(shell(env), argv...)
		}
		return argv, func() { os.Remove(file) }, nil
	}
	path, err := find(c.Argv[0], env)
	if err != nil {
		return nil, nil, err
	}
	return append([]string{path}, c.Argv[1:]...), nothing, nil
}

// shell is the root's own, or ours where it has none: as a tool of a minimal image this program is one.
func shell(env []string) []string {
	if path, err := find("sh", env); err == nil {
		return []string{path}
	}
	return []string{images.RunBinary, "sh"}
}

// find looks a program up in the PATH that the command will have, not in the agent's own.
func find(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	path := ""
	for _, e := range env {
		if p, ok := strings.CutPrefix(e, "PATH="); ok {
			path = p
		}
	}
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, name)
		if st, err := os.Stat(file); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 && filepath.IsAbs(file) {
			return file, nil
		}
	}
	return "", fmt.Errorf("%s: not found in %s", name, path)
}

func writeScript(dir, text string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, "script-*")
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Chmod(0o700), f.Close()); err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

// process is a command while it runs.
type process struct {
	input io.Reader
	out   *outlet

	cmd    *exec.Cmd
	pipes  []*os.File // our ends
	stdin  *os.File   // our end; nil: it reads nothing
	pumps  sync.WaitGroup
	feeder sync.WaitGroup
	ended  atomic.Bool
}

// start begins it. Its output goes to the outlet from now on.
func (p *process) start(argv, env []string) error {
	p.cmd = &exec.Cmd{Path: argv[0], Args: argv, Env: env, Dir: "/", SysProcAttr: &unix.SysProcAttr{Setsid: true}}
	if argv[0] == images.RunBinary && len(argv) > 1 && argv[1] == "sh" {
		p.cmd.Args = argv[1:] // its name makes it the shell
	}
	if st, err := os.Stat("/root"); err == nil && st.IsDir() {
		p.cmd.Dir = "/root"
	}
	var theirs []*os.File
	defer func() {
		for _, f := range theirs {
			f.Close()
		}
	}()
	pipe := func() (r, w *os.File, err error) {
		if r, w, err = os.Pipe(); err != nil {
			err = fmt.Errorf("make a pipe: %w", err)
		}
		return r, w, err
	}
	for _, to := range []*io.Writer{&p.cmd.Stdout, &p.cmd.Stderr} {
		r, w, err := pipe()
		if err != nil {
			return err
		}
		*to, theirs, p.pipes = w, append(theirs, w), append(p.pipes, r)
	}
	if p.input != nil {
		r, w, err := pipe()
		if err != nil {
			return err
		}
		p.cmd.Stdin, theirs, p.stdin = r, append(theirs, r), w
	}
	if err := p.begin(); err != nil {
		return err
	}
	// The agent is spared when memory runs out; what administrators run is not to be.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", p.cmd.Process.Pid), []byte("0"), 0o644)
	for i, take := range []func([]byte){p.out.stdout, p.out.stderr} {
		p.pumps.Go(func() { p.pump(p.pipes[i], take) }) // ends with the output, or with closePipes
	}
	if p.stdin != nil {
		p.feeder.Go(func() { // ends with the input, with who reads it, or with close
			_, _ = io.Copy(p.stdin, p.input) // a command need not read its input
			p.stdin.Close()
		})
	}
	return nil
}

// begin is cmd.Start. A script that was written just now may be open for writing still in a process that another command
// is about to become (golang.org/issue/22315).
func (p *process) begin() error {
	for try := 0; ; try++ {
		err := p.cmd.Start()
		if err == nil || try == 10 || !errors.Is(err, syscall.ETXTBSY) {
			return err
		}
		retry := *p.cmd
		p.cmd = &exec.Cmd{Path: retry.Path, Args: retry.Args, Env: retry.Env, Dir: retry.Dir, SysProcAttr: retry.SysProcAttr,
			Stdin: retry.Stdin, Stdout: retry.Stdout, Stderr: retry.Stderr}
		time.Sleep(time.Duration(1+try) * time.Millisecond) // there is no event for "that process has executed"
	}
}

// pump hands output on until all who can write it are gone; after the end of the command, until nothing comes any more.
func (p *process) pump(r *os.File, take func([]byte)) {
	buf := make([]byte, outletChunk)
	for {
		if p.ended.Load() {
			_ = r.SetReadDeadline(time.Now().Add(lastWords))
		}
		n, err := r.Read(buf)
		take(buf[:n])
		if err != nil {
			return
		}
	}
}

// wait gives how the process ended once its output is handed on. When ctx ends first it is killed, and cause says why.
func (p *process) wait(ctx context.Context) (state *os.ProcessState, cause error) {
	done := make(chan struct{})
	go func() { // ends with the process
		defer close(done)
		_ = p.cmd.Wait() // its state says it all
	}()
	select {
	case <-done:
	case <-ctx.Done():
		cause = context.Cause(ctx)
		p.kill(unix.SIGTERM)
		select {
		case <-done:
		case <-time.After(killGrace):
		}
		// Those of the group that went on after the first had ended go too.
		p.kill(unix.SIGKILL)
		<-done
	}
	p.ended.Store(true)
	for _, r := range p.pipes {
		_ = r.SetReadDeadline(time.Now().Add(lastWords))
	}
	pumped := make(chan struct{})
	go func() { // ends with the pumps, which close ends
		defer close(pumped)
		p.pumps.Wait()
	}()
	select {
	case <-pumped:
	case <-ctx.Done():
		p.closePipes()
		<-pumped
	}
	return p.cmd.ProcessState, cause
}

func (p *process) kill(sig unix.Signal) {
	// A session leader's process group has its number. One that has ended is what we want.
	_ = unix.Kill(-p.cmd.Process.Pid, sig)
}

func (p *process) closePipes() {
	for _, r := range p.pipes {
		_ = r.Close() // also when it is closed already
	}
}

// close lets go of everything. An input that is on its way is broken off.
func (p *process) close() {
	p.closePipes()
	if p.stdin != nil {
		p.stdin.Close()
	}
	if c, ok := p.input.(io.Closer); ok {
		c.Close()
	}
	p.pumps.Wait()
	p.feeder.Wait()
}
