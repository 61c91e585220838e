package qemu

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
)

// Process is a running QEMU.
type Process struct {
	pid  int
	done chan struct{}
	err  error // valid once done is closed
	kill func() error
}

// Start runs argv with its output appended to the file logPath. The process is
// killed when ctx ends, and by the kernel when this process dies, however it dies.
func Start(ctx context.Context, argv []string, logPath string) (*Process, error) {
	log, err := os.OpenFile(logPath, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("QEMU log: %w", err)
	}
	said := &tail{}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout = log
	cmd.Stderr = io.MultiWriter(log, said)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL,
		Setpgid:   true, // Ctrl-C in the lab's terminal is the lab's to handle
	}
	p := &Process{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		defer close(p.done)
		defer log.Close()
		// The death signal is that of the thread that started the process
		// (prctl(2)): keep the thread as long as the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		if err := cmd.Wait(); err != nil {
			p.err = describe(err, said.String())
		}
	}()
	if err := <-started; err != nil {
		<-p.done
		return nil, fmt.Errorf("start QEMU: %w", err)
	}
	p.pid = cmd.Process.Pid
	p.kill = cmd.Process.Kill
	return p, nil
}

func describe(err error, said string) error {
	if said = strings.TrimSpace(said); said != "" {
		return fmt.Errorf("QEMU: %w: %s", err, said)
	}
	return fmt.Errorf("QEMU: %w", err)
}

// PID returns the process's id.
func (p *Process) PID() int { return p.pid }

// Done is closed when the process has ended and its output is in the log.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait blocks until the process has ended and returns how: nil when it left by
// itself without an error, as it does when the guest powers off.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Kill ends the process as a power cut ends a machine, and returns when it is gone.
func (p *Process) Kill() {
	_ = p.kill() // fails only when it is gone already
	<-p.done
}

// tail keeps the last of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailSize = 4096

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if len(t.buf) > tailSize {
		t.buf = bytes.Clone(t.buf[len(t.buf)-tailSize:])
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}
