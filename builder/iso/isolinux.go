package iso

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Menu is the configuration of ISOLINUX.
type Menu struct {
	// Serial is the argument of SERIAL, as "0 115200"; empty leaves the loader
	// on the screen only.
	Serial string
	// Timeout is how long to wait for a label to be typed; 0 starts the first
	// entry at once, unless Shift or Alt is held.
	Timeout time.Duration
	// Entries can be chosen by their label; the first is the default.
	Entries []Entry
}

// Entry is one way to start.
type Entry struct {
	Label  string // one word, typed at the prompt
	Kernel string // path in Image.Files
	Initrd string // path in Image.Files; may be empty
	Append string // kernel command line
}

// stuckAfter is added to the timeout for TOTALTIMEOUT. A key ends TIMEOUT, and
// noise on a serial line is a key: a machine must start without anyone there.
const stuckAfter = 60 * time.Second

// maxAppend is COMMAND_LINE_SIZE of x86 less the terminating zero and what
// ISOLINUX adds (BOOT_IMAGE= and initrd=).
const maxAppend = 2047 - 256

// config renders isolinux.cfg.
func (m Menu) config() string {
	var b strings.Builder
	if m.Serial != "" {
		fmt.Fprintf(&b, "SERIAL %s\n", m.Serial) // must be the first line
	}
	prompt := 0
	if m.Timeout > 0 {
		prompt = 1
	}
	fmt.Fprintf(&b, "DEFAULT %s\nPROMPT %d\n", m.Entries[0].Label, prompt)
	if m.Timeout > 0 {
		labels := make([]string, len(m.Entries))
		for i, e := range m.Entries {
			labels[i] = e.Label
		}
		fmt.Fprintf(&b, "TIMEOUT %d\nTOTALTIMEOUT %d\n", tenths(m.Timeout), tenths(m.Timeout+stuckAfter))
		fmt.Fprintf(&b, "SAY Type a label or press Enter: %s\n", strings.Join(labels, ", "))
	}
	for _, e := range m.Entries {
		fmt.Fprintf(&b, "LABEL %s\n  LINUX /%s\n", e.Label, e.Kernel)
		if e.Initrd != "" {
			fmt.Fprintf(&b, "  INITRD /%s\n", e.Initrd)
		}
		if e.Append != "" {
			fmt.Fprintf(&b, "  APPEND %s\n", e.Append)
		}
	}
	return b.String()
}

// tenths are seconds divided by ten, at least one: 0 would wait for ever.
func tenths(d time.Duration) int64 { return max(1, int64(d/(100*time.Millisecond))) }

// validate checks the menu against the files of the image.
func (m Menu) validate(files []File) error {
	var errs []error
	if len(m.Entries) == 0 {
		errs = append(errs, errors.New("menu has no entry"))
	}
	if !printable(m.Serial) {
		errs = append(errs, fmt.Errorf("menu: serial %q is not printable ASCII", m.Serial))
	}
	has := func(path string) bool {
		return slices.ContainsFunc(files, func(f File) bool { return f.Path == path })
	}
	seen := make(map[string]bool)
	for _, e := range m.Entries {
		fail := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("menu entry %q: %w", e.Label, fmt.Errorf(format, args...)))
		}
		if e.Label == "" || !printable(e.Label) || strings.Contains(e.Label, " ") {
			fail("the label is not one word of ASCII")
		}
		if seen[e.Label] {
			fail("the label is used twice")
		}
		seen[e.Label] = true
		if !has(e.Kernel) {
			fail("kernel %q is not in the image", e.Kernel)
		}
		if e.Initrd != "" && !has(e.Initrd) {
			fail("initramfs %q is not in the image", e.Initrd)
		}
		for _, path := range []string{e.Kernel, e.Initrd} {
			// INITRD takes a list separated by commas, and a line ends a path.
			if !printable(path) || strings.ContainsAny(path, " ,") {
				fail("ISOLINUX cannot load %q: spaces, commas and non-ASCII do not work", path)
			}
		}
		if !printable(e.Append) {
			fail("command line is not printable ASCII")
		}
		if len(e.Append) > maxAppend {
			fail("command line has %d bytes, at most %d", len(e.Append), maxAppend)
		}
	}
	return errors.Join(errs...)
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}
