package kmod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Watch loads modules for devices as the kernel announces them, until ctx ends. It begins with a Coldplug, so that no
// device falls between the two. failed, if not nil, is told of each module that could not be loaded. Watch returns nil
// when ctx ends.
//
// A USB stick or keyboard is found a second or two after its host controller; nothing tells when the last one was.
func (l *Loader) Watch(ctx context.Context, failed func(error)) error {
	f, err := openUevents()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { f.Close() })
	defer func() {
		if stop() {
			f.Close()
		}
	}()
	report := func(err error) {
		if err != nil && failed != nil && ctx.Err() == nil {
			failed(err)
		}
	}
	_, err = l.Coldplug(ctx)
	report(err)
	buf := make([]byte, 64<<10)
	for {
		n, err := f.Read(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS): // events were lost
			_, err := l.Coldplug(ctx)
			report(err)
			continue
		case err != nil:
			return fmt.Errorf("watch for devices: %w", err)
		}
		if device := added(buf[:n]); device != "" {
			_, errs, err := l.plug(ctx, []string{device})
			report(err)
			for _, err := range errs {
				report(err)
			}
		}
	}
}

// openUevents opens a netlink socket on which the kernel announces devices (lib/kobject_uevent.c).
func openUevents() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("watch for devices: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("watch for devices: %w", err)
	}
	return os.NewFile(uintptr(fd), "uevents"), nil
}

// added gives the modalias of a device that an announcement adds, or "". An announcement is ACTION@PATH and then
// KEY=VALUE strings, each ended by a zero byte.
func added(msg []byte) string {
	head, rest, _ := strings.Cut(string(msg), "\x00")
	if !strings.HasPrefix(head, "add@") {
		return ""
	}
	for kv := range strings.SplitSeq(rest, "\x00") {
		if v, ok := strings.CutPrefix(kv, "MODALIAS="); ok {
			return v
		}
	}
	return ""
}
