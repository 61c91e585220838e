// Command masthead builds the images of a highly available Linux cluster, is PID 1 inside them, and runs its head
// nodes. Which of these it is depends on how it was started: see identity.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"

	"golang.org/x/sys/unix"

	"masthead/images"
	"masthead/node/rootdev"
	"masthead/node/slot"
)

func main() {
	os.Exit(start(os.Args))
}

// start decides what this process is, runs it, and gives its exit code.
func start(args []string) int {
	tool, isTool := toolSet().Find(filepath.Base(args[0]))
	switch identity(args[0], os.Getpid(), isTool) {
	case isInit:
		return bootMachine()
	case isSecondInit:
		return secondInit()
	case isRootServer:
		return rootServer()
	case isTrialGuard:
		return report(os.Stderr, slot.Guard(args))
	case isDRBDHandler:
		return drbdHandler(args[1:])
	case runsTool:
		return runTool(tool, args)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	return report(os.Stderr, run(ctx, args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// role is what one process of this program is.
type role int

const (
	isCommand     role = iota
	isInit             // PID 1 in the initramfs
	isSecondInit       // PID 1 in a root without an init of its own
	isRootServer       // the process behind the root's block device
	isTrialGuard       // the process that ends a trial of a new image
	isDRBDHandler      // called by the kernel's DRBD
	runsTool           // a tool of a minimal image, by its name
)

// identity tells the role from the name that the program was started by and its process number.
func identity(argv0 string, pid int, isTool bool) role {
	name := filepath.Base(argv0)
	switch {
	case pid == 1 && argv0 == images.RunInit:
		return isSecondInit
	case pid == 1:
		return isInit
	case name == filepath.Base(rootdev.ProcessName):
		return isRootServer
	case name == slot.GuardName:
		return isTrialGuard
	case name == images.DRBDHandler:
		return isDRBDHandler
	case isTool:
		return runsTool
	}
	return isCommand
}

// Exit codes: 1 for what failed, 2 for a command that was not understood, as with most Unix commands.
const (
	exitFailed = 1
	exitUsage  = 2
)

// usageError marks a command line that was not understood.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// report prints an error as people see it, with what to type next, and gives the exit code.
func report(w io.Writer, err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintf(w, "error: %v\n", err)
	var t interface{ Try() string }
	if errors.As(err, &t) && t.Try() != "" {
		fmt.Fprintf(w, "try: %s\n", t.Try())
	}
	var usage usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

// hint is an error with what to type next.
type hint struct {
	error
	try string
}

func (h *hint) Try() string   { return h.try }
func (h *hint) Unwrap() error { return h.error }
