package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"go.bug.st/serial"
	"golang.org/x/sys/unix"

	"masthead/appliance/failover"
)

// cable is one serial line.
//
// go.bug.st/serial sets the line (115200 8N1, raw, DTR) and reads the modem's lines. The bytes go through a descriptor of
// our own: that package's Write blocks as long as the line does, its Close cannot end a Write and frees the descriptor's
// number while a Read may still select on it, and its select(2) knows no descriptor above 1023.
//
// The runtime's poller never sees that descriptor. To poll a terminal waits for the kernel's worker that brings in what the
// line has received (drivers/tty/n_tty.c, n_tty_poll), a thread without real-time priority; on a machine with much to do that
// is half a second, in which nothing that this process polls for goes on, neither timers nor the network. So the line is
// looked at now and then instead, which is cheaper too than to be woken for each few bytes.
type cable struct {
	h      *Heartbeat
	device string
	baud   int
	link   *link
	// hadCarrier: the other end was there once. Cables of three wires have no carrier at all, which must not look as if
	// the other end were off.
	hadCarrier bool
}

var errLineBusy = errors.New("the line has not taken the last heartbeat yet")

// run keeps the device open until ctx ends.
func (c *cable) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := c.serve(ctx)
		c.h.closed(c.link, err)
		if ctx.Err() == nil {
			c.h.report(c.link)
		}
		pause(ctx, reopenAfter)
	}
}

// lookEvery is how often the line is looked at, and looksPerWatch how many of these it is between two looks at the carrier.
// A heartbeat comes at most so much later; it is the silence of all links that counts, and leases count from when a
// heartbeat was sent.
const (
	lookEvery     = 20 * time.Millisecond
	looksPerWatch = int(watchEvery / lookEvery)
)

// serve opens the device and returns why it is of no use any more.
func (c *cable) serve(ctx context.Context) error {
	f, err := openUnpolled(c.device)
	if err != nil {
		return err
	}
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return fmt.Errorf("%s: %w", c.device, err)
	}
	line, err := c.set(raw)
	if err != nil {
		return err
	}
	if line != nil {
		defer line.Close()
	}
	c.h.opened(c.link, func(b []byte) error { return c.transmit(raw, b) })
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	b := make([]byte, 4*lineSize)
	var s stream
	for look := 0; err == nil; look++ {
		if look%looksPerWatch == 0 {
			c.h.watched(c.link, "", c.carrier(line))
		}
		if err = c.receive(raw, &s, b); err != nil {
			break
		}
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-tick.C:
		}
	}
	c.h.closed(c.link, err) // before the descriptor goes
	return err
}

// openUnpolled opens a device whose reads and writes return at once, and which the runtime does not poll.
func openUnpolled(device string) (*os.File, error) {
	// O_NONBLOCK: open(2) would wait for the carrier (termios(3), CLOCAL).
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: device, Err: err}
	}
	err = unix.SetNonblock(fd, false) // os.NewFile polls what does not block
	f := os.NewFile(uintptr(fd), device)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", device, err)
	}
	return f, nil
}

// set puts the line in order. A device that is no terminal, such as a virtio port, is taken as it is: nil.
func (c *cable) set(raw syscall.RawConn) (serial.Port, error) {
	var no error
	if err := raw.Control(func(fd uintptr) { _, no = unix.IoctlGetTermios(int(fd), unix.TCGETS) }); err != nil {
		return nil, fmt.Errorf("%s: %w", c.device, err)
	}
	if errors.Is(no, unix.ENOTTY) || errors.Is(no, unix.EINVAL) {
		return nil, nil
	}
	line, err := serial.Open(c.device, &serial.Mode{BaudRate: c.baud, DataBits: 8, Parity: serial.NoParity, StopBits: serial.OneStopBit})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.device, err)
	}
	_ = line.SetDTR(true)        // a pty has no such line
	_ = line.ResetInputBuffer()  // what waited there is old
	_ = line.ResetOutputBuffer() // and so is what an earlier run left
	return line, nil
}

// transmit gives a frame to the line if that has sent the one before. A part of a frame that finds no more room is lost:
// the other end sees that it is garbled.
func (c *cable) transmit(raw syscall.RawConn, b []byte) error {
	out := stuff([frameSize]byte(b))
	var n int
	var err error
	outer := raw.Control(func(fd uintptr) {
		if waiting, e := unix.IoctlGetInt(int(fd), unix.TIOCOUTQ); e == nil && waiting > lineSize {
			err = errLineBusy
			return
		}
		n, err = unix.Write(int(fd), out[:])
	})
	if err == nil && n < len(out) || errors.Is(err, unix.EAGAIN) {
		err = errLineBusy
	}
	return errors.Join(outer, err)
}

// receiveAtOnce is how many times a buffer may be filled in one look: a terminal holds 4096 bytes, and a device without end
// must not keep the rest waiting.
const receiveAtOnce = 64

// receive takes what has come in, and returns why there will be nothing more.
func (c *cable) receive(raw syscall.RawConn, s *stream, b []byte) error {
	for range receiveAtOnce {
		var n int
		var err error
		outer := raw.Control(func(fd uintptr) {
			// It may wait for the worker too, for this line alone and with no lock that a write wants. TIOCINQ, which says how much
			// there is, takes the terminal's lock for writing, and transmit would wait behind it.
			n, err = unix.Read(int(fd), b)
		})
		switch {
		case outer != nil:
			return fmt.Errorf("%s: %w", c.device, outer)
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			return nil
		case err != nil:
			return fmt.Errorf("%s: %w", c.device, err)
		case n == 0:
			return fmt.Errorf("%s: hung up", c.device)
		}
		s.feed(b[:n], func(frame [frameSize]byte) { c.h.received(c.link, frame[:]) }, func() { c.h.garbled(c.link) })
		if n < len(b) {
			break
		}
	}
	return nil
}

// carrier is whether the other end holds its DTR up, which a null-modem cable shows as DCD and DSR.
func (c *cable) carrier(line serial.Port) failover.Reading {
	if line == nil {
		return failover.Unknown
	}
	bits, err := line.GetModemStatusBits()
	switch {
	case err != nil:
		return failover.Unknown
	case bits.DCD || bits.DSR:
		c.hadCarrier = true
		return failover.Up
	case c.hadCarrier:
		return failover.Down
	}
	return failover.Unknown
}
