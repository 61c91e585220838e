package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"io"
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

// serve opens the device and returns why it is of no use any more.
func (c *cable) serve(ctx context.Context) error {
	// O_NONBLOCK: open(2) would wait for the carrier (termios(3), CLOCAL).
	f, err := os.OpenFile(c.device, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return fmt.Errorf("%s: %w", c.device, err)
	}
	line, err := c.set(raw)
	if err != nil {
		f.Close()
		return err
	}
	c.h.opened(c.link, func(b []byte) error { return c.transmit(raw, b) })
	done := make(chan error, 1)
	go func() { done <- c.read(f) }()

	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	ended := false
	for err == nil {
		c.h.watched(c.link, "", c.carrier(line))
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case err = <-done:
			ended = true
		case <-tick.C:
		}
	}
	c.h.closed(c.link, err) // before the descriptor goes
	if line != nil {
		line.Close()
	}
	f.Close()
	if !ended {
		<-done
	}
	return err
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
	outer := raw.Write(func(fd uintptr) bool {
		if waiting, e := unix.IoctlGetInt(int(fd), unix.TIOCOUTQ); e == nil && waiting > lineSize {
			err = errLineBusy
			return true
		}
		n, err = unix.Write(int(fd), out[:])
		return true
	})
	if err == nil && n < len(out) || errors.Is(err, unix.EAGAIN) {
		err = errLineBusy
	}
	return errors.Join(outer, err)
}

// read receives until the device is closed, or fails.
func (c *cable) read(f *os.File) error {
	b := make([]byte, 4*lineSize)
	var s stream
	for {
		n, err := f.Read(b)
		s.feed(b[:n], func(frame [frameSize]byte) { c.h.received(c.link, frame[:]) }, func() { c.h.garbled(c.link) })
		if err == io.EOF {
			return fmt.Errorf("%s: hung up", c.device)
		}
		if err != nil {
			return err
		}
	}
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
