package nbd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Tuning is what is set in a device's queue. Zero fields are left at the kernel's choice.
type Tuning struct {
	ReadAhead int           // KiB that the kernel reads ahead of a sequential reader
	Request   int           // KiB of the largest request
	Remind    time.Duration // age at which the kernel looks at a request that has no reply
}

// DefaultTuning is what Tune sets for a root.
//
// ReadAhead is one chunk. A page fault in a mapped program reads as much around it (mm/filemap.c,
// do_sync_mmap_readahead), so each chunk more is fetched, verified and decoded for nothing while a machine boots; the
// kernel's own 128 KiB would fetch a chunk and read half of it.
//
// Remind is not a limit (see Connect). The kernel writes a line for each waiting request when it passes, and takes a
// request back from a process that died; a minute keeps the console readable through a head's reboot and bounds how
// long reads hang after a respawn.
var DefaultTuning = Tuning{ReadAhead: 256, Request: 512, Remind: time.Minute}

// Tune sets a device's queue under sys, normally /sys. The device works without it, only slower, so all that fails is
// reported together and the caller may go on.
func (d Device) Tune(sys string, t Tuning) error {
	var errs []error
	for _, s := range []struct {
		file  string
		value int
	}{
		{"max_sectors_kb", t.Request},
		{"read_ahead_kb", t.ReadAhead},
		{"io_timeout", int(t.Remind.Milliseconds())},
	} {
		if s.value == 0 {
			continue
		}
		path := filepath.Join(sys, "block", d.Name(), "queue", s.file)
		if err := os.WriteFile(path, []byte(strconv.Itoa(s.value)), 0); err != nil {
			errs = append(errs, fmt.Errorf("tune %s: %w", d.Path(), err))
		}
	}
	return errors.Join(errs...)
}
