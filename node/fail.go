package node

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"masthead/images"
	"masthead/node/wire"
)

// fail says what went wrong where somebody reads it: on the console, and to the head if it can be reached. With
// masthead.rescue it gives a shell, otherwise the machine is started again after the delay. It does not return,
// except where a delay of 0 keeps the machine as it is.
func (in *Init) fail(ctx context.Context, out io.Writer, s wire.StageResult, cause error) error {
	fmt.Fprint(out, explain(s, in.boot))
	go in.reportUntilHeard(ctx) // ends with the machine at the latest
	if in.boot.Rescue {
		rescueShell(ctx)
		return reboot(unix.LINUX_REBOOT_CMD_RESTART)
	}
	if in.boot.PanicDelay == 0 {
		<-ctx.Done()
		return cause
	}
	time.Sleep(in.boot.PanicDelay) // the delay is for whoever reads the console
	return reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

// failedRetry is the time between two attempts to tell the head of a failed boot: there are a few of them before the
// machine starts again, and many while somebody sits at the rescue shell.
const failedRetry = 3 * time.Second

// reportUntilHeard tells the head why the boot failed as soon as it can be reached: what failed is often just the way
// to it. It is silent, since somebody may use the console.
func (in *Init) reportUntilHeard(ctx context.Context) {
	for in.report(ctx, nil) != nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(failedRetry):
		}
	}
}

// explain is the block of text that a failed boot leaves on the console.
func explain(s wire.StageResult, boot images.Boot) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n*** boot failed at stage %q, %.1f s after the kernel started\n", s.Stage, s.At)
	for i, l := range strings.Split(s.Cause, "\n") {
		if i == 0 {
			fmt.Fprintf(&b, "*** cause: %s\n", l)
		} else {
			fmt.Fprintf(&b, "***        %s\n", l)
		}
	}
	if s.Try != "" {
		fmt.Fprintf(&b, "*** try:   %s\n", s.Try)
	}
	switch {
	case boot.Rescue:
		b.WriteString("*** a shell follows; the machine restarts when you leave it\n")
	case boot.PanicDelay == 0:
		b.WriteString("*** the machine stays like this (masthead.panic=0)\n")
	default:
		fmt.Fprintf(&b, "*** restart in %.0f s; add masthead.rescue to the kernel command line for a shell\n", boot.PanicDelay.Seconds())
	}
	return b.String()
}

// rescueShell gives the console to a shell and returns when it ends.
func rescueShell(ctx context.Context) {
	cmd := shell(ctx)
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "rescue shell:", err)
	}
}

// shell is masthead's own, as the leader of a session with the console as its terminal.
func shell(ctx context.Context) *exec.Cmd {
	cmd := exec.CommandContext(ctx, selfPath(), "-i")
	cmd.Args[0] = "sh"
	cmd.Env = environment()
	tty, err := os.OpenFile("/dev/console", os.O_RDWR, 0)
	if err == nil {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	}
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: err == nil}
	return cmd
}

// selfPath is where this program can be executed from at any time of a boot.
func selfPath() string {
	if _, err := os.Stat(images.RunBinary); err == nil {
		return images.RunBinary
	}
	return images.InitramfsInit
}

// environment is what programs find that init starts: the kernel gives PID 1 next to nothing.
func environment() []string {
	return []string{"PATH=/bin:/sbin:/usr/bin:/usr/sbin:/usr/local/bin:/run/masthead/bin", "HOME=/root", "TERM=linux", "USER=root"}
}

// reboot writes everything out and ends the machine with one of LINUX_REBOOT_CMD_*.
func reboot(command int) error {
	unix.Sync()
	if err := unix.Reboot(command); err != nil {
		return fmt.Errorf("reboot: %w", err)
	}
	return nil
}
