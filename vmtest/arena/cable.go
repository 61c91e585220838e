package arena

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Cable is a null-modem cable of two pseudo terminals.
type Cable struct {
	Devices [2]string
	cut     [2]atomic.Bool // what comes from that end
	files   []*os.File
	all     sync.WaitGroup
}

// Cable makes one.
func (a *Arena) Cable() (*Cable, error) {
	c := &Cable{}
	var masters [2]*os.File
	for i := range 2 {
		master, device, err := openTerminal()
		if err != nil {
			c.close()
			return nil, fmt.Errorf("serial cable: %w", err)
		}
		c.files = append(c.files, master)
		// A master cannot be read while nobody has the device open.
		keep, err := os.OpenFile(device, os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			c.close()
			return nil, fmt.Errorf("serial cable: %w", err)
		}
		c.files = append(c.files, keep)
		masters[i], c.Devices[i] = master, device
	}
	for i := range 2 {
		c.all.Go(func() {
			var b [256]byte
			for {
				n, err := masters[i].Read(b[:])
				if err != nil {
					return // closed
				}
				if !c.cut[i].Load() {
					_, _ = masters[1-i].Write(b[:n]) // a terminal that is full loses, as a line does
				}
			}
		})
	}
	a.cables = append(a.cables, c)
	return c, nil
}

// Cut cuts both directions, or joins them.
func (c *Cable) Cut(cut bool) {
	c.cut[0].Store(cut)
	c.cut[1].Store(cut)
}

func (c *Cable) close() {
	for _, f := range c.files {
		_ = f.Close()
	}
	c.all.Wait()
}

// openTerminal opens a pseudo terminal (pts(4)), raw as a serial line is.
func openTerminal() (master *os.File, device string, err error) {
	if master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0); err != nil {
		return nil, "", err
	}
	raw, err := master.SyscallConn()
	if err != nil {
		return nil, "", errors.Join(err, master.Close())
	}
	var n int
	control := raw.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err != nil {
			return
		}
		if n, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN); err != nil {
			return
		}
		var t *unix.Termios
		if t, err = unix.IoctlGetTermios(int(fd), unix.TCGETS); err != nil {
			return
		}
		t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
		err = unix.IoctlSetTermios(int(fd), unix.TCSETS, t)
	})
	if err = errors.Join(err, control); err != nil {
		return nil, "", errors.Join(err, master.Close())
	}
	return master, fmt.Sprintf("/dev/pts/%d", n), nil
}
