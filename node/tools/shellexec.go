package tools

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
)

// Exit codes of commands that could not be run (POSIX 2.8.2).
const (
	exitNotExecutable = 126
	exitNotFound      = 127
)

// killAfter is how long a command may live on once the shell itself is told to end.
const killAfter = 2 * time.Second

// self is this very binary, wherever it lies and even if it was replaced.
const self = "/proc/self/exe"

// notBuiltin marks a name that the interpreter would otherwise take for a builtin.
const notBuiltin = "@"

// external sends the builtins that the interpreter knows but does not have to the tools.
func external(_ context.Context, args []string) ([]string, error) {
	if args[0] == "kill" {
		return append([]string{notBuiltin + args[0]}, args[1:]...), nil
	}
	return args, nil
}

// exec runs a command: a tool if there is one of the name, else a program from the PATH. Tools run in a process of
// their own, so that Ctrl-C, pipes and working directories are what they are everywhere.
func (sh *shell) exec(ctx context.Context, args []string) error {
	hc := interp.HandlerCtx(ctx)
	argv := append([]string{strings.TrimPrefix(args[0], notBuiltin)}, args[1:]...)
	if t, ok := sh.tool(argv[0], hc.Dir); ok {
		if _, err := os.Stat(sh.self); err != nil {
			// Before /proc is mounted, or after: mount itself is a tool.
			return status(t.Run(ctx, Stdio{In: hc.Stdin, Out: hc.Stdout, Err: hc.Stderr, Dir: hc.Dir,
				LookupEnv: func(name string) (string, bool) {
					v := hc.Env.Get(name)
					return v.Str, v.IsSet()
				}}, argv[1:]))
		}
		argv[0] = t.Name
		return sh.spawn(ctx, hc, sh.self, argv)
	}
	file, err := interp.LookPathDir(hc.Dir, hc.Env, argv[0])
	if err != nil {
		fmt.Fprintf(hc.Stderr, "sh: %s: not found\n", argv[0])
		return interp.ExitStatus(exitNotFound)
	}
	return sh.spawn(ctx, hc, file, argv)
}

// tool finds one by its name, or by a path where the builder would have laid a link, in an image that has none.
func (sh *shell) tool(name, dir string) (Tool, bool) {
	if !strings.Contains(name, "/") {
		return sh.tools.Find(name)
	}
	switch path.Dir(name) {
	case "/bin", "/sbin", "/usr/bin", "/usr/sbin":
		if _, err := os.Lstat(name); errors.Is(err, os.ErrNotExist) {
			return sh.tools.Find(path.Base(name))
		}
	}
	return Tool{}, false
}

func (sh *shell) spawn(ctx context.Context, hc interp.HandlerContext, file string, argv []string) error {
	cmd := exec.CommandContext(ctx, file)
	cmd.Args, cmd.Dir, cmd.Env = argv, hc.Dir, exported(hc.Env)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = hc.Stdin, hc.Stdout, hc.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = killAfter
	sh.jobs.child(1)
	err := cmd.Run()
	sh.jobs.child(-1)

	exit, isExit := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return nil
	case isExit:
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			if ws.Signal() == unix.SIGINT {
				sh.jobs.interrupt() // and the loop around it ends too
			}
			return interp.ExitStatus(128 + uint8(ws.Signal()))
		}
		return status(exit.ExitCode())
	case ctx.Err() != nil:
		return ctx.Err()
	}
	fmt.Fprintf(hc.Stderr, "sh: %v\n", err)
	return interp.ExitStatus(exitNotExecutable)
}

func status(code int) error {
	if code == 0 {
		return nil
	}
	return interp.ExitStatus(uint8(code))
}

// exported is the environment of a child.
func exported(env expand.Environ) []string {
	var out []string
	env.Each(func(name string, v expand.Variable) bool {
		if v.Exported && v.Kind == expand.String {
			out = append(out, name+"="+v.Str)
		}
		return true
	})
	return out
}
