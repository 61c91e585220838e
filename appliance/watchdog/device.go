package watchdog

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// Names of the kernel's timer: the module, and how it calls itself (drivers/watchdog/softdog.c).
const (
	softModule   = "softdog"
	softIdentity = "Software Watchdog"
)

// device is a watchdog as sysfs shows it (Documentation/ABI/testing/sysfs-class-watchdog).
type device struct {
	name     string // watchdog0
	identity string
	noWayOut bool // once open, nothing stops it
}

func (d device) soft() bool { return d.identity == softIdentity }

// devices reads /sys/class/watchdog: hardware first, then by number. Without the attributes (CONFIG_WATCHDOG_SYSFS) a
// device is taken for hardware.
func devices(class fs.FS) ([]device, error) {
	entries, err := fs.ReadDir(class, ".")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // no driver is loaded
	}
	if err != nil {
		return nil, fmt.Errorf("watchdogs: %w", err)
	}
	var out []device
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "watchdog") {
			continue
		}
		out = append(out, device{e.Name(), attribute(class, e.Name(), "identity"), attribute(class, e.Name(), "nowayout") == "1"})
	}
	slices.SortFunc(out, func(a, b device) int {
		if a.soft() != b.soft() {
			if a.soft() {
				return 1
			}
			return -1
		}
		return cmp.Compare(number(a.name), number(b.name))
	})
	return out, nil
}

// attribute is "" where the kernel does not show it.
func attribute(class fs.FS, device, name string) string {
	b, err := fs.ReadFile(class, device+"/"+name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func number(name string) int {
	n, err := strconv.Atoi(strings.TrimPrefix(name, "watchdog"))
	if err != nil {
		return 1 << 30 // none of the kernel's names
	}
	return n
}
