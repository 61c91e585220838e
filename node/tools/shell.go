package tools

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

const (
	shellUsage   = "sh [-eux] [-c COMMAND | FILE] [ARGUMENT]..."
	shellSummary = "the shell: runs a command, a script, or what is typed"
	defaultPath  = "/bin:/sbin:/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin"
)

func shellTool(s *Set) Tool {
	return Tool{Name: "sh", Summary: shellSummary, Run: func(ctx context.Context, io Stdio, args []string) int {
		inv, err := parseShell(args)
		if err != nil {
			return report(io, "sh", shellUsage, err)
		}
		if inv.help {
			fmt.Fprintf(io.Out, "%s: %s\n", shellUsage, shellSummary)
			return 0
		}
		sh, err := newShell(ctx, s, io, inv)
		if err != nil {
			return report(io, "sh", shellUsage, err)
		}
		return sh.main(inv)
	}}
}

// builtins are commands that the shell has built in and others expect as programs.
func builtins(s *Set) []Tool {
	make := func(name, summary string) Tool {
		return Tool{Name: name, Summary: summary, Run: func(ctx context.Context, io Stdio, args []string) int {
			inv := invocation{command: name + ` "$@"`, isCommand: true, name: name, params: args}
			sh, err := newShell(ctx, s, io, inv)
			if err != nil {
				return report(io, name, name, err)
			}
			return sh.main(inv)
		}}
	}
	return []Tool{
		make("[", "test a condition"),
		make("echo", "print words"),
		make("false", "fail"),
		make("printf", "print words by a format"),
		make("pwd", "print the working directory"),
		make("test", "test a condition"),
		make("true", "succeed"),
	}
}

// invocation is how a shell was called.
type invocation struct {
	set         []string // options as for the set builtin: -e
	command     string   // of -c
	isCommand   bool
	file        string
	interactive bool
	help        bool
	name        string // $0
	params      []string
}

func parseShell(args []string) (invocation, error) {
	inv := invocation{name: "sh"}
	for len(args) > 0 {
		a := args[0]
		if len(a) < 2 || a[0] != '-' && a[0] != '+' {
			break
		}
		args = args[1:]
		if a == "--help" {
			return invocation{help: true}, nil
		}
		if a == "--" {
			break
		}
		if a[0] == '-' && a[1] == '-' {
			return inv, fmt.Errorf("unknown option %s: %w", a, errUsage)
		}
		for _, f := range a[1:] {
			switch {
			case f == 'c' && a[0] == '-':
				inv.isCommand = true
			case f == 'i' && a[0] == '-':
				inv.interactive = true
			case f == 's' || f == 'l': // what we do anyway, or have no profile for
			case strings.ContainsRune("aefnux", f):
				inv.set = append(inv.set, a[:1]+string(f))
			default:
				return inv, fmt.Errorf("unknown option %c%c: %w", a[0], f, errUsage)
			}
		}
	}
	if inv.isCommand {
		if len(args) == 0 {
			return inv, fmt.Errorf("-c needs a command: %w", errUsage)
		}
		inv.command, args = args[0], args[1:]
	}
	if len(args) > 0 {
		inv.name, args = args[0], args[1:]
		if !inv.isCommand {
			inv.file = inv.name
		}
	}
	inv.params = args
	return inv, nil
}

// shell is one running shell.
type shell struct {
	Stdio
	ctx    context.Context
	tools  *Set
	runner *interp.Runner
	jobs   foreground
	self   string // the binary to run tools with
}

func newShell(ctx context.Context, s *Set, io Stdio, inv invocation) (*shell, error) {
	sh := &shell{Stdio: io, ctx: ctx, tools: s, self: self}
	vars := os.Environ()
	if io.getenv("PATH") == "" {
		vars = append(vars, "PATH="+defaultPath) // PID 1 has none
	}
	params := append(append([]string{}, inv.set...), "--")
	r, err := interp.New(
		interp.StdIO(io.In, io.Out, io.Err),
		interp.Env(expand.ListEnviron(vars...)),
		interp.Dir(io.Dir),
		interp.Params(append(params, inv.params...)...),
		interp.CallHandler(external),
		interp.ExecHandlers(func(interp.ExecHandlerFunc) interp.ExecHandlerFunc { return sh.exec }),
	)
	if err != nil {
		return nil, fmt.Errorf("start shell: %w", err)
	}
	sh.runner = r
	return sh, nil
}

// main gives the exit code.
func (sh *shell) main(inv invocation) int {
	switch {
	case inv.isCommand:
		return sh.script(strings.NewReader(inv.command), inv.name)
	case inv.file != "":
		f, err := os.Open(sh.path(inv.file))
		if err != nil {
			fmt.Fprintf(sh.Err, "sh: %v\n", err)
			return 127
		}
		defer f.Close()
		return sh.script(f, inv.name)
	}
	if in, ok := sh.In.(*os.File); ok && term.IsTerminal(int(in.Fd())) {
		return sh.interactive(newEditor(in, sh.Out, sh.complete))
	}
	if inv.interactive {
		return sh.interactive(newPlain(sh.In, sh.Out))
	}
	return sh.script(sh.In, inv.name)
}

// script runs all of r. It is read whole first: a script that is changed while it runs does not change course.
func (sh *shell) script(r io.Reader, name string) int {
	file, err := syntax.NewParser().Parse(r, name)
	if err != nil {
		fmt.Fprintf(sh.Err, "%v\n", err)
		return exitUsage
	}
	return sh.status(sh.runner.Run(sh.ctx, file))
}

func (sh *shell) status(err error) int {
	status, ok := errors.AsType[interp.ExitStatus](err)
	switch {
	case err == nil:
		return 0
	case ok:
		return int(status)
	}
	fmt.Fprintf(sh.Err, "sh: %v\n", err)
	return exitFailed
}
