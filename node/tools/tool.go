package tools

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Exit codes that tools share with other systems' tools.
const (
	exitFailed = 1
	exitUsage  = 2
)

// Tool is one command.
type Tool struct {
	Name    string
	Summary string
	// Run does the command's work and gives its exit code. args do not hold the name. It ends early when ctx does,
	// except in a read from a terminal.
	Run func(ctx context.Context, io Stdio, args []string) int
}

// Stdio is what a tool finds when it is called.
type Stdio struct {
	In       io.Reader
	Out, Err io.Writer
	Dir      string // relative paths start here; empty: at the working directory of the process
	// LookupEnv reads the environment; nil: that of the process.
	LookupEnv func(string) (string, bool)
}

// Process is the Stdio of the process itself.
func Process() Stdio { return Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr} }

func (s Stdio) path(name string) string {
	if s.Dir == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(s.Dir, name)
}

func (s Stdio) getenv(name string) string {
	if s.LookupEnv == nil {
		return os.Getenv(name)
	}
	v, _ := s.LookupEnv(name)
	return v
}

// call is one call of a tool of our own.
type call struct {
	ctx context.Context
	Stdio
	options
}

func (c *call) printf(format string, a ...any) { fmt.Fprintf(c.Out, format, a...) }

// warn reports a failure and goes on; the tool ends with failed.
func (c *call) warn(err error) error {
	fmt.Fprintf(c.Err, "%s: %v\n", c.name, err)
	return errFailed
}

// errFailed is for tools that have said already what went wrong.
var errFailed = errors.New("failed")

// errUsage makes the tool print how it is called.
var errUsage = errors.New("usage")

// own makes a tool of a function. usage is what follows the name; flags are read by getopt.
func own(name, usage, summary, flags string, run func(*call) error) Tool {
	line := name + " " + usage
	if usage == "" {
		line = name
	}
	return Tool{Name: name, Summary: summary, Run: func(ctx context.Context, io Stdio, args []string) int {
		opts, err := getopt(name, flags, args)
		if err == nil && opts.has("help") {
			fmt.Fprintf(io.Out, "%s: %s\n", line, summary)
			return 0
		}
		if err == nil {
			err = run(&call{ctx: ctx, Stdio: io, options: opts})
		}
		return report(io, name, line, err)
	}}
}

func report(io Stdio, name, usage string, err error) int {
	status, isStatus := errors.AsType[exitStatus](err)
	switch {
	case err == nil:
		return 0
	case isStatus:
		return int(status)
	case errors.Is(err, errFailed):
		return exitFailed
	case errors.Is(err, errUsage):
		if err != errUsage {
			fmt.Fprintf(io.Err, "%s: %v\n", name, err)
		}
		fmt.Fprintf(io.Err, "usage: %s\n", usage)
		return exitUsage
	}
	fmt.Fprintf(io.Err, "%s: %v\n", name, err)
	return exitFailed
}

// exitStatus is an exit code that is an answer and no failure to report.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }
