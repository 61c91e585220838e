package vmtest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// LeaveKey leaves a console: Ctrl-], as telnet and virsh have it.
const LeaveKey = 0x1d

// Interact joins a person's terminal with a console until the person presses
// LeaveKey, the input or the console ends, or ctx does. A terminal is put in raw
// mode meanwhile. It closes the console.
func Interact(ctx context.Context, console io.ReadWriteCloser, in *os.File, out io.Writer) error {
	fd := int(in.Fd())
	if term.IsTerminal(fd) {
		before, err := term.MakeRaw(fd)
		if err != nil {
			return fmt.Errorf("terminal: %w", err)
		}
		defer term.Restore(fd, before)
	}
	ctx, cancel := context.WithCancel(ctx)
	var both sync.WaitGroup
	both.Go(func() {
		defer cancel()
		_, _ = io.Copy(out, console) // ends when the console does, for whatever reason
	})
	err := typeKeys(ctx, console, in)
	cancel()
	console.Close()
	both.Wait()
	return err
}

// typeKeys gives the console what is typed. It polls, because nothing else ends a
// read from a terminal.
func typeKeys(ctx context.Context, console io.Writer, in *os.File) error {
	const wake = 100 // ms
	keys := make([]byte, 256)
	for ctx.Err() == nil {
		poll := []unix.PollFd{{Fd: int32(in.Fd()), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, wake)
		if err == unix.EINTR || err == nil && n == 0 {
			continue
		}
		if err != nil {
			return fmt.Errorf("terminal: %w", err)
		}
		n, err = in.Read(keys)
		typed, _, leave := bytes.Cut(keys[:n], []byte{LeaveKey})
		if _, err := console.Write(typed); err != nil {
			return nil // the console has ended
		}
		if leave || err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("terminal: %w", err)
		}
	}
	return nil
}
