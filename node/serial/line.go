package serial

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// DefaultBaud is that of heartbeats.
const DefaultBaud = 115200

// bauds are the speeds of termios(3) that heartbeats fit through.
var bauds = map[int]uint32{
	9600: unix.B9600, 19200: unix.B19200, 38400: unix.B38400, 57600: unix.B57600, 115200: unix.B115200, 230400: unix.B230400, 460800: unix.B460800,
}

// CheckBaud says whether a line can be set to a speed, and else which speeds there are.
func CheckBaud(baud int) error {
	if _, ok := bauds[baud]; ok {
		return nil
	}
	return fmt.Errorf("%d baud: want one of %v", baud, slices.Sorted(maps.Keys(bauds)))
}

// CheckDevice says whether a name can be that of a port.
func CheckDevice(name string) error {
	if strings.HasPrefix(name, "/dev/") && path.Clean(name) == name {
		return nil
	}
	return errors.New("want a device, such as /dev/ttyS1")
}

// Open opens a port, raw, 8N1, without flow control and without waiting for a carrier. What waits in it is dropped. Reads
// end when it is closed.
func Open(device string, baud int) (*os.File, error) {
	if err := CheckBaud(baud); err != nil {
		return nil, fmt.Errorf("%s: %w", device, err)
	}
	speed := bauds[baud]
	// O_NONBLOCK: open(2) would wait for the carrier, and os.File could not end a read (os.File, deadlines).
	f, err := os.OpenFile(device, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	raw, err := f.SyscallConn()
	if err == nil {
		err = errors.Join(raw.Control(func(fd uintptr) { err = set(int(fd), speed) }), err)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", device, err)
	}
	return f, nil
}

func set(fd int, speed uint32) error {
	t := unix.Termios{
		Cflag: unix.CS8 | unix.CREAD | unix.CLOCAL | speed, Ispeed: speed, Ospeed: speed,
	}
	t.Cc[unix.VMIN] = 1
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &t); err != nil {
		return fmt.Errorf("set the line: %w", err)
	}
	if err := unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCIOFLUSH); err != nil {
		return fmt.Errorf("empty the line: %w", err)
	}
	return nil
}
