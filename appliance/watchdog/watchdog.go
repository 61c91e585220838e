package watchdog

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Config is which watchdog, and how long it waits.
type Config struct {
	Device  string        // /dev/watchdog1; empty: hardware first, then softdog
	Timeout time.Duration // from the last Feed to the reset, rounded up to whole seconds; default DefaultTimeout
	// Load loads a kernel module, as modprobe does. It is called for softdog where no other watchdog can be had; nil: it is
	// not loaded. Drivers of hardware are loaded by whoever loads drivers.
	Load func(module string) error
	Log  *slog.Logger // nil: nowhere
}

// DefaultTimeout is longer than a disk under load holds up a sync, and short enough that a head that hangs is back before
// somebody gets up. No takeover waits for it: the lease is what silences an owner.
const DefaultTimeout = 5 * time.Second

const (
	classDir = "/sys/class/watchdog"
	devDir   = "/dev"
)

// Watchdog is an open device. It runs: somebody must feed it. Its methods may be called from several goroutines.
type Watchdog struct {
	path     string
	identity string
	timeout  time.Duration
	noWayOut bool
	bitten   bool

	mu sync.Mutex
	fd int // -1: closed
}

// NoneError says that there is no watchdog, and why each candidate was not taken.
type NoneError struct{ Err error }

func (e *NoneError) Error() string {
	if e.Err == nil {
		return "no watchdog: this machine has none"
	}
	return "no watchdog: " + e.Err.Error()
}
func (e *NoneError) Unwrap() error { return e.Err }
func (e *NoneError) Try() string   { return "modprobe " + softModule }

// Open finds a watchdog and starts it. The error is a *NoneError where there is none.
func Open(c Config) (*Watchdog, error) {
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Timeout < 0 {
		return nil, fmt.Errorf("watchdog: timeout %v: want more than 0", c.Timeout)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Device != "" {
		w, err := open(device{name: c.Device, noWayOut: noWayOut(c.Device)}, c.Device, c)
		if err != nil {
			return nil, &NoneError{err}
		}
		return w, nil
	}
	w, tried, errs := first(nil, c)
	if w == nil && c.Load != nil {
		if err := c.Load(softModule); err != nil {
			errs = append(errs, err)
		}
		var more []error
		w, _, more = first(tried, c)
		errs = append(errs, more...)
	}
	if w == nil {
		return nil, &NoneError{errors.Join(errs...)}
	}
	for _, err := range errs {
		c.Log.Warn("watchdog passed over", "err", err)
	}
	return w, nil
}

// first opens the first device that can be had and that was not tried before.
func first(before map[string]bool, c Config) (w *Watchdog, tried map[string]bool, errs []error) {
	tried = map[string]bool{}
	list, err := devices(os.DirFS(classDir))
	if err != nil {
		return nil, tried, []error{err}
	}
	for _, d := range list {
		if before[d.name] {
			continue
		}
		tried[d.name] = true
		w, err := open(d, filepath.Join(devDir, d.name), c)
		if err == nil {
			return w, tried, errs
		}
		errs = append(errs, err)
	}
	return nil, tried, errs
}

// noWayOut reads whether the device of that path can be stopped; false where the kernel does not say.
func noWayOut(path string) bool {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	name := filepath.Base(path)
	if name == "watchdog" { // misc device 130, another name of the first one (drivers/watchdog/watchdog_dev.c)
		name = "watchdog0"
	}
	return attribute(os.DirFS(classDir), name, "nowayout") == "1"
}

// open starts one device, which opening it does, and stops it again if it is of no use.
func open(d device, path string, c Config) (*Watchdog, error) {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EBUSY) {
		return nil, fmt.Errorf("%s: %w: another process feeds it (systemd's RuntimeWatchdogSec?)", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	w := &Watchdog{path: path, identity: d.identity, noWayOut: d.noWayOut, fd: fd}
	if err := w.set(c); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), w.Close(true))
	}
	return w, nil
}

// set checks that the device does what it is for, and sets its timeout.
func (w *Watchdog) set(c Config) error {
	info, err := unix.IoctlGetWatchdogInfo(w.fd)
	if err != nil {
		return fmt.Errorf("WDIOC_GETSUPPORT: %w", err)
	}
	if w.identity == "" {
		w.identity = unix.ByteSliceToString(info.Identity[:])
	}
	switch {
	case info.Options&unix.WDIOF_ALARMONLY != 0:
		return fmt.Errorf("%s: it raises an alarm and resets nothing", w.identity)
	case info.Options&unix.WDIOF_MAGICCLOSE == 0 && !w.noWayOut:
		return fmt.Errorf("%s: it stops when the process that feeds it is killed", w.identity)
	}
	if status, err := unix.IoctlGetInt(w.fd, unix.WDIOC_GETBOOTSTATUS); err == nil {
		w.bitten = status > 0 && status&unix.WDIOF_CARDRESET != 0
	}
	seconds := int((c.Timeout + time.Second - 1) / time.Second)
	setErr := unix.IoctlSetPointerInt(w.fd, unix.WDIOC_SETTIMEOUT, seconds)
	got, err := unix.IoctlGetInt(w.fd, unix.WDIOC_GETTIMEOUT)
	if err != nil {
		return errors.Join(fmt.Errorf("%s: its timeout is not known: WDIOC_GETTIMEOUT: %w", w.identity, err), setErr)
	}
	w.timeout = time.Duration(got) * time.Second
	if got != seconds {
		c.Log.Warn("watchdog has another timeout than was asked for", "device", w.path, "asked", seconds, "got", got, "err", setErr)
	}
	return w.Feed()
}

// ErrClosed is the answer of a Watchdog after Close.
var ErrClosed = errors.New("the watchdog is closed")

// Feed starts the timeout again.
func (w *Watchdog) Feed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fd < 0 {
		return ErrClosed
	}
	if err := unix.IoctlWatchdogKeepalive(w.fd); err != nil {
		return fmt.Errorf("feed %s: %w", w.path, err)
	}
	return nil
}

// Timeout is how long after the last Feed the machine is reset, as the device has it.
func (w *Watchdog) Timeout() time.Duration { return w.timeout }

// Bitten reports whether the device says that it was the reason for the last reset. Few tell.
func (w *Watchdog) Bitten() bool { return w.bitten }

// String is the device as status shows it: i6300ESB timer (/dev/watchdog0), 5s, no way out.
func (w *Watchdog) String() string {
	s := fmt.Sprintf("%s (%s), %v", w.identity, w.path, w.timeout)
	if w.noWayOut {
		s += ", no way out"
	}
	if w.bitten {
		s += ", caused the last reset"
	}
	return s
}

// Close lets go of the device. In order, it is told to stop first, with the magic character that a process that dies does
// not write (Documentation/watchdog/watchdog-api.rst): the error says so where it will not, since then the machine is
// reset unless the next process opens it within the timeout. Not in order, it runs on and resets the machine.
func (w *Watchdog) Close(orderly bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fd < 0 {
		return nil
	}
	fd := w.fd
	w.fd = -1
	var errs []error
	if orderly {
		if _, err := unix.Write(fd, []byte("V")); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", w.path, err))
		}
		if w.noWayOut {
			errs = append(errs, fmt.Errorf("stop %s: it has no way out (nowayout): this machine is reset in %v unless it is fed again", w.path, w.timeout))
		}
	}
	if err := unix.Close(fd); err != nil {
		errs = append(errs, fmt.Errorf("close %s: %w", w.path, err))
	}
	return errors.Join(errs...)
}
