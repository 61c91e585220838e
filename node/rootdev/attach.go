package rootdev

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"masthead/node/rootdev/nbd"
)

const (
	// retryAttach is the pause before the kernel gets another socket for one that broke.
	retryAttach = 200 * time.Millisecond

	// sendBuffer lets a whole reply of 512 KiB (nbd.DefaultTuning) leave without waiting for the kernel's reader.
	sendBuffer = 1 << 20
)

// attachment is a device of the kernel with our end of its socket.
type attachment struct {
	kernel  Kernel
	dev     nbd.Device
	size    int64
	backend nbd.Backend
	events  *eventLog
	stop    context.CancelFunc // closes our end
	life    context.Context    // ends with stop
	serving chan error         // gets what nbd.Serve returns, once for each socket
}

// attach attaches a new device, or takes over one whose process died, and serves it in a goroutine that ends in serve
// or detach, one of which the caller must call.
func attach(ctx context.Context, k Kernel, takeOver string, size int64, b nbd.Backend, ev *eventLog) (*attachment, error) {
	a := &attachment{kernel: k, size: size, backend: b, events: ev, serving: make(chan error, 1)}
	// Our end must be there until the kernel has let go, or it would fail reads and complain about a dead connection.
	a.life, a.stop = context.WithCancel(context.WithoutCancel(ctx))
	err := a.connect(func(fd int) (err error) {
		if takeOver == "" {
			a.dev, err = k.Connect(fd, size)
			return err
		}
		if a.dev, err = nbd.ParseDevice(takeOver); err != nil {
			return err
		}
		return k.Reconnect(a.dev, fd)
	})
	if err != nil {
		a.stop()
		return nil, fmt.Errorf("root device: %w", err)
	}
	if err := k.Tune(a.dev); err != nil {
		ev.say("%v", err)
	}
	return a, nil
}

// connect makes a socket pair, serves one end and has give hand the other to the kernel.
func (a *attachment) connect(give func(fd int) error) error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket pair: %w", err)
	}
	defer unix.Close(fds[1]) // the kernel holds what it was given
	ours := os.NewFile(uintptr(fds[0]), "nbd")
	unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer) // without it, more switches
	conn, err := net.FileConn(ours)
	ours.Close() // conn is a duplicate
	if err != nil {
		return fmt.Errorf("socket pair: %w", err)
	}
	go func() { // ends with the kernel's end or with life; the receivers of serving wait for it
		a.serving <- nbd.Serve(a.life, conn, a.size, a.backend)
	}()
	if err := give(fds[1]); err != nil {
		conn.Close()
		<-a.serving
		return err
	}
	return nil
}

// serve blocks until the device is detached, by somebody else or because ctx ends, and returns detachErr if the latter
// did not work. A socket that breaks without either is replaced: it should not happen, but a machine should not lose
// its root by it.
func (a *attachment) serve(ctx context.Context) (err, detachErr error) {
	defer a.stop()
	for {
		select {
		case <-ctx.Done():
			return nil, a.detach()
		case err := <-a.serving:
			if err == nil {
				return nil, nil
			}
			a.events.say("the socket of %s broke: %v", a.dev.Path(), err)
		}
		select {
		case <-time.After(retryAttach):
		case <-ctx.Done():
			return nil, a.kernel.Disconnect(a.dev)
		}
		if err := a.connect(func(fd int) error { return a.kernel.Reconnect(a.dev, fd) }); err != nil {
			return fmt.Errorf("root device: %w", err), nil
		}
	}
}

// detach has the kernel let go and waits for our end to be done.
func (a *attachment) detach() error {
	err := a.kernel.Disconnect(a.dev)
	if err != nil {
		a.stop()
	}
	if end := <-a.serving; err == nil && end != nil && !errors.Is(end, context.Canceled) {
		err = end
	}
	a.stop()
	return err
}
