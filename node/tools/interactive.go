package tools

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
	"mvdan.cc/sh/v3/syntax"
)

// lineReader reads what a person types. errInterrupted is Ctrl-C, io.EOF is Ctrl-D.
type lineReader interface {
	readLine(prompt string) (string, error)
}

var errInterrupted = errors.New("interrupted")

// interactive reads and runs until exit or the end of the input, and gives the last exit code.
func (sh *shell) interactive(lines lineReader) int {
	interrupts := make(chan os.Signal, 1)
	// Caught and not ignored: children would inherit that.
	signal.Notify(interrupts, unix.SIGINT)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-interrupts:
				sh.jobs.interrupt()
			case <-stop:
				return
			}
		}
	})
	defer wg.Wait()
	defer close(stop)
	defer signal.Stop(interrupts)

	status, pending := 0, ""
	for sh.ctx.Err() == nil {
		prompt := sh.prompt()
		if pending != "" {
			prompt = "> "
		}
		line, err := lines.readLine(prompt)
		switch {
		case err == errInterrupted:
			pending = ""
			continue
		case err == io.EOF:
			return status
		case err != nil:
			fmt.Fprintf(sh.Err, "sh: %v\n", err)
			return exitFailed
		}
		pending += line + "\n"
		file, err := syntax.NewParser().Parse(strings.NewReader(pending), "")
		if syntax.IsIncomplete(err) {
			continue
		}
		pending = ""
		if err != nil {
			fmt.Fprintf(sh.Err, "sh: %v\n", err)
			status = exitUsage
			continue
		}
		var exited bool
		if status, exited = sh.statements(file.Stmts); exited {
			return status
		}
	}
	return status
}

// statements runs one line. Ctrl-C ends it, and the shell goes on.
func (sh *shell) statements(stmts []*syntax.Stmt) (status int, exited bool) {
	ctx, cancel := context.WithCancel(sh.ctx)
	defer cancel()
	sh.jobs.begin(cancel)
	defer sh.jobs.begin(nil)
	for _, s := range stmts {
		err := sh.runner.Run(ctx, s)
		if ctx.Err() != nil {
			fmt.Fprintln(sh.Out)
			return 128 + int(unix.SIGINT), false
		}
		status = sh.status(err)
		if sh.runner.Exited() {
			return status, true
		}
	}
	return status, false
}

func (sh *shell) prompt() string {
	name, err := os.Hostname()
	if err != nil || name == "(none)" {
		name = "masthead"
	}
	return name + ":" + sh.dir() + "# "
}

// dir is where the shell stands. The runner knows once it has run something.
func (sh *shell) dir() string {
	if dir := sh.runner.Vars["PWD"].Str; dir != "" {
		return dir
	}
	if sh.Dir != "" {
		return sh.Dir
	}
	dir, err := os.Getwd()
	if err != nil {
		return "?"
	}
	return dir
}

// foreground knows what Ctrl-C is for. A child gets it from the terminal and decides for itself; only when the shell
// itself is at work, in a loop of builtins, does it end the line.
type foreground struct {
	mu       sync.Mutex
	children int
	cancel   context.CancelFunc
}

func (f *foreground) begin(cancel context.CancelFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cancel = cancel
}

func (f *foreground) child(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.children += n
}

func (f *foreground) interrupt() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.children == 0 && f.cancel != nil {
		f.cancel()
	}
}
