package console

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"masthead/vmtest/prerequisite"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pty gives a pseudo terminal: what is written to the path is read from the file.
func pty(t *testing.T) (*os.File, string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		prerequisite.Missing(t, "/dev/ptmx: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	return master, fmt.Sprintf("/dev/pts/%d", n)
}

// A terminal that nobody reads takes about 4 KiB. Whoever writes more must not notice.
func TestNobodyReads(t *testing.T) {
	const waiting = 256 << 10 // more than the kernel holds for a reader: some are lost in the end
	pipe := func(t *testing.T) *Writer {
		var fds [2]int
		if err := unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fds[0]) })
		return start(fds[1], "", waiting)
	}
	terminal := func(t *testing.T) *Writer {
		_, path := pty(t)
		w, err := Open(path, waiting)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	for name, open := range map[string]func(*testing.T) *Writer{"pipe": pipe, "terminal": terminal} {
		t.Run(name, func(t *testing.T) {
			w := open(t)
			line := []byte(strings.Repeat("x", 99) + "\n")
			for range 20000 { // for ever, if one waited for the reader
				if n, err := w.Write(line); n != len(line) || err != nil {
					t.Fatalf("Write: %d, %v", n, err)
				}
			}
			if w.Dropped() < 10000 {
				t.Errorf("%d lines dropped, want nearly all", w.Dropped())
			}
			if err := w.close(200 * time.Millisecond); err == nil {
				t.Error("Close does not tell of the lines that were lost")
			}
			if n, err := w.Write(line); n != len(line) || err != nil {
				t.Errorf("Write after Close: %d, %v", n, err)
			}
		})
	}
}

// A reader that comes back sees how many lines it missed, and then the latest.
func TestReaderComesBack(t *testing.T) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fds[1], true); err != nil {
		t.Fatal(err)
	}
	r := os.NewFile(uintptr(fds[0]), "pipe")
	defer r.Close()
	w := start(fds[1], "", 4<<10)
	const lines = 5000
	for i := range lines {
		fmt.Fprintf(w, "line %d %s\n", i, strings.Repeat(".", 80))
	}
	fmt.Fprintf(w, "the end") // without its newline: Close writes it

	closed := make(chan error, 1)
	go func() { closed <- w.close(time.Minute) }() // received below
	var told, seen int
	var last string
	s := bufio.NewScanner(r)
	for s.Scan() {
		var n int
		if _, err := fmt.Sscanf(s.Text(), "masthead: %d lines dropped", &n); err == nil {
			told += n
			continue
		}
		seen++
		last = s.Text()
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if last != "the end" {
		t.Errorf("last line %q", last)
	}
	if told == 0 || told+seen != lines+1 || told != w.Dropped() {
		t.Errorf("%d told, %d dropped, %d seen of %d", told, w.Dropped(), seen, lines+1)
	}
}

// systemd hangs the console up before its login starts. Lines after that go to the terminal as it is opened anew.
func TestHangUp(t *testing.T) {
	master, path := pty(t)
	w, err := Open(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	// The lines are counted from the master's side. Between hang-up and reopening its reads give EIO.
	expect := func(want string) {
		t.Helper()
		var got []byte
		for deadline := time.Now().Add(time.Minute); !bytes.HasSuffix(got, []byte("\n")); {
			if time.Now().After(deadline) {
				t.Fatalf("got %q, want %q", got, want)
			}
			poll := []unix.PollFd{{Fd: int32(master.Fd()), Events: unix.POLLIN}}
			unix.Poll(poll, 100)
			if poll[0].Revents&unix.POLLIN == 0 {
				continue
			}
			var b [1]byte
			if n, err := unix.Read(int(master.Fd()), b[:]); n == 1 && err == nil {
				got = append(got, b[0])
			}
		}
		if s := strings.TrimRight(string(got), "\r\n"); s != want {
			t.Fatalf("got %q, want %q", s, want)
		}
	}
	io.WriteString(w, "before\n")
	expect("before")

	slave, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(slave)
	const tiocvhangup = 0x5437 // include/uapi/asm-generic/ioctls.h
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(slave), tiocvhangup, 0); errno != 0 {
		prerequisite.Missing(t, "TIOCVHANGUP: %v", errno)
	}
	if _, err := unix.Write(slave, []byte("x")); !errors.Is(err, unix.EIO) {
		t.Fatalf("the terminal is not hung up: %v", err)
	}
	io.WriteString(w, "after\n")
	expect("after")
}
