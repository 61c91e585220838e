package console

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of a Writer.
const (
	// DefaultBuffer holds about 800 lines: a whole boot with all its stages.
	DefaultBuffer = 64 << 10
	// maxPartial is the longest line that is kept together.
	maxPartial = 4 << 10
	// FlushTimeout is how long Close waits for a console that does not take what is left. At 115,200 baud it is
	// enough for 20 KiB.
	FlushTimeout = 2 * time.Second
	// pollSlice bounds how long the goroutine may not look whether it should end, and retryOpen how often a console
	// that hung up is opened again.
	pollSlice = 50 * time.Millisecond
	retryOpen = time.Second
)

// Writer writes lines to a terminal, pipe or socket without ever blocking its caller. Its methods may be called from
// many goroutines.
type Writer struct {
	path string // to open again after a hang-up; empty: cannot

	mu      sync.Mutex
	ring    ring
	partial []byte
	closed  bool
	total   int // lines dropped in all

	wake chan struct{}
	stop chan struct{} // closed: give up, even on what is left
	done chan struct{}
}

// Open opens the console at path (/dev/console), with room for size bytes of waiting lines, or DefaultBuffer if size
// is 0. The writer's goroutine runs until Close.
func Open(path string, size int) (*Writer, error) {
	fd, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("open console: %w", err)
	}
	return start(fd, path, size), nil
}

// open never waits for a carrier and never makes the console the controlling terminal of PID 1, which would then get
// its Ctrl-C.
func open(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

func start(fd int, path string, size int) *Writer {
	if size <= 0 {
		size = DefaultBuffer
	}
	w := &Writer{
		path: path,
		ring: ring{max: size},
		wake: make(chan struct{}, 1),
		stop: make(chan struct{}),
		done: make(chan struct{}),
	}
	go w.run(fd)
	return w
}

// Write keeps a copy of p and returns at once, always with len(p) and nil. A last line without its end waits for it.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	if !w.closed {
		w.partial = append(w.partial, p...)
		w.cut()
	}
	w.mu.Unlock()
	w.nudge()
	return len(p), nil
}

// cut moves the whole lines out of partial.
func (w *Writer) cut() {
	for {
		n := bytes.IndexByte(w.partial, '\n') + 1
		if n == 0 && len(w.partial) >= maxPartial {
			n = maxPartial
		}
		if n == 0 {
			return
		}
		w.add(bytes.Clone(w.partial[:n]))
		w.partial = append(w.partial[:0], w.partial[n:]...)
	}
}

func (w *Writer) add(line []byte) {
	before := w.ring.dropped
	w.ring.add(line)
	w.total += w.ring.dropped - before
}

// Dropped is the number of lines that never reached the console.
func (w *Writer) Dropped() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.total
}

// Close writes what is left, for at most FlushTimeout, and ends the writer. The error says how many lines were lost
// in the end.
func (w *Writer) Close() error { return w.close(FlushTimeout) }

func (w *Writer) close(timeout time.Duration) error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		<-w.done
		return nil
	}
	w.closed = true
	if len(w.partial) > 0 {
		w.add(w.partial)
		w.partial = nil
	}
	w.mu.Unlock()
	w.nudge()

	t := time.NewTimer(timeout)
	defer t.Stop()
	select {
	case <-w.done:
	case <-t.C:
		close(w.stop)
		<-w.done
	}
	if n := len(w.ring.lines); n > 0 {
		return fmt.Errorf("close console: %d lines not written in %v", n, timeout)
	}
	return nil
}

func (w *Writer) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run owns fd.
func (w *Writer) run(fd int) {
	defer close(w.done)
	defer func() { closeFD(fd) }()
	for {
		w.mu.Lock()
		line, dropped, ok := w.ring.take()
		closed := w.closed
		w.mu.Unlock()
		switch {
		case !ok && closed:
			return
		case !ok:
			<-w.wake
			continue
		case dropped > 0:
			line = append(fmt.Appendf(nil, "masthead: %d lines dropped, the console was busy\n", dropped), line...)
		}
		var done bool
		if fd, done = w.put(fd, line); !done {
			w.mu.Lock()
			w.ring.lines = append([][]byte{line}, w.ring.lines...) // counted by close
			w.mu.Unlock()
			return
		}
	}
}

// put writes line to the end. It gives the descriptor to go on with, and false if the writer was told to stop.
func (w *Writer) put(fd int, line []byte) (int, bool) {
	for len(line) > 0 {
		n, err := unix.Write(fd, line)
		switch {
		case err == nil && n > 0:
			line = line[n:]
			continue
		case errors.Is(err, unix.EINTR):
			continue
		case err == nil, errors.Is(err, unix.EAGAIN):
			waitWritable(fd)
		default:
			// A hang-up (systemd's getty does vhangup on its terminal, drivers/tty/tty_io.c __tty_hangup) makes this
			// descriptor return EIO for ever, while a new one works.
			closeFD(fd)
			fd = w.reopen()
		}
		select {
		case <-w.stop:
			return fd, false
		default:
		}
	}
	return fd, true
}

func (w *Writer) reopen() int {
	if w.path != "" {
		if fd, err := open(w.path); err == nil {
			return fd
		}
	}
	t := time.NewTimer(retryOpen)
	defer t.Stop()
	select {
	case <-w.stop:
	case <-t.C:
	}
	return -1 // the next write fails with EBADF and comes back here
}

func waitWritable(fd int) {
	// The error does not matter: the next write tells.
	unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, int(pollSlice/time.Millisecond))
}

func closeFD(fd int) {
	if fd >= 0 {
		unix.Close(fd)
	}
}
