package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// errEnded is a question whose asker was ended, by Ctrl-C for one.
var errEnded = errors.New("ended before it was answered; nothing was changed")

// askLook is how often a question that waits looks whether the command was ended: a signal wakes another thread.
const askLook = 100 * time.Millisecond

// askLine asks a person for one line, whose ends are cut of spaces.
func (a *app) askLine(prompt string) (string, error) {
	text, err := a.askText(prompt)
	return strings.TrimSpace(text), err
}

// askText asks for one line. It reads byte by byte: what follows is for somebody else.
func (a *app) askText(prompt string) (string, error) {
	fmt.Fprint(a.err, prompt)
	var line []byte
	var b [1]byte
	for len(line) < maxToken {
		if err := a.awaitInput(); err != nil {
			fmt.Fprintln(a.err)
			return "", err
		}
		n, err := a.in.Read(b[:])
		if n == 1 && b[0] != '\n' {
			line = append(line, b[0])
		}
		if n == 1 && b[0] == '\n' || err == io.EOF {
			return strings.TrimSuffix(string(line), "\r"), nil
		}
		if err != nil {
			return "", fmt.Errorf("read the answer: %w", err)
		}
	}
	return "", errors.New("read the answer: it is too long")
}

// awaitInput returns when a read would not wait, or with an error when the command was ended. Signals are caught to end
// commands in order, so a read that waits would not hear of them.
func (a *app) awaitInput() error {
	f, isFile := a.in.(*os.File)
	for {
		select {
		case <-a.ended:
			return errEnded
		default:
		}
		if !isFile {
			return nil
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}, int(askLook.Milliseconds()))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("read the answer: %w", err)
		}
		if n > 0 {
			return nil
		}
	}
}

// askHidden is askText for what is not to be shown. Where there is no terminal, nothing shows it.
func (a *app) askHidden(prompt string) (string, error) {
	f, ok := a.in.(*os.File)
	if !ok || !terminalIn(a.in) {
		return a.askText(prompt)
	}
	shown, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return "", fmt.Errorf("hide the answer: %w", err)
	}
	hidden := *shown
	hidden.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, &hidden); err != nil {
		return "", fmt.Errorf("hide the answer: %w", err)
	}
	text, err := a.askText(prompt)
	if err == nil {
		fmt.Fprintln(a.err) // the line's end was hidden, too
	}
	return text, errors.Join(err, unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, shown))
}
