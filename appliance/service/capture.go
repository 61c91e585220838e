package service

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// captureMost is what is kept of a program's output: the meta-data of the longest OCF agents are 40 KiB.
	captureMost = 256 << 10
	// reasonLines and reasonMost bound what of it becomes the reason of a failure.
	reasonLines = 4
	reasonMost  = 400
)

// capture is the output of a program.
//
// A script that starts a daemon often leaves its output to it. The other end of an ordinary pipe would be closed when the
// action is over, or when this daemon is killed, and the service would die of SIGPIPE at the next line that it writes. So
// what programs are given is open for reading as well: it never breaks. When the action is over it is made non-blocking;
// what is written later fills the pipe (64 KiB), and then is refused with EAGAIN.
type capture struct {
	theirs *os.File // for the program
	ours   *os.File
	done   chan struct{}
	kept   []byte
}

func newCapture() (*capture, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	defer unix.Close(fds[1])
	both, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fds[1]), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		unix.Close(fds[0])
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	// The reading end has flags of its own, so that the program's stays blocking while it is read.
	if err := unix.SetNonblock(fds[0], true); err != nil {
		unix.Close(fds[0])
		unix.Close(both)
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	// theirs is blocking: os.NewFile leaves it alone, and exec passes the descriptor on as it is.
	c := &capture{theirs: os.NewFile(uintptr(both), "output"), ours: os.NewFile(uintptr(fds[0]), "output"), done: make(chan struct{})}
	go c.read() // ends with finish or close
	return c, nil
}

func (c *capture) read() {
	defer close(c.done)
	buf := make([]byte, 32<<10)
	for {
		n, err := c.ours.Read(buf)
		c.keep(buf[:n])
		if err != nil {
			return
		}
	}
}

func (c *capture) keep(b []byte) {
	c.kept = append(c.kept, b...)
	if over := len(c.kept) - captureMost; over > 0 {
		c.kept = append(c.kept[:0], c.kept[over:]...)
	}
}

// finish gives what was written until now.
func (c *capture) finish() string {
	_ = unix.SetNonblock(int(c.theirs.Fd()), true)
	_ = c.ours.SetReadDeadline(time.Unix(1, 0))
	<-c.done
	// What is in the pipe still; one pipe full of it, since somebody may go on writing.
	if raw, err := c.ours.SyscallConn(); err == nil {
		buf := make([]byte, 64<<10)
		_ = raw.Control(func(fd uintptr) {
			n, err := unix.Read(int(fd), buf)
			if err == nil {
				c.keep(buf[:n])
			}
		})
	}
	return string(c.kept)
}

func (c *capture) close() {
	_ = errors.Join(c.theirs.Close(), c.ours.Close())
	<-c.done
}

// reasonOf is the end of an output, on one line.
func reasonOf(output string) string {
	var lines []string
	for line := range strings.Lines(output) {
		line = strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f {
				return ' '
			}
			return r
		}, strings.ToValidUTF8(line, "?"))
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			lines = append(lines, line)
		}
	}
	if len(lines) > reasonLines {
		lines = lines[len(lines)-reasonLines:]
	}
	text := []rune(strings.Join(lines, "; "))
	if len(text) > reasonMost {
		text = append([]rune("…"), text[len(text)-reasonMost:]...)
	}
	return string(text)
}
