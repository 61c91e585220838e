package console

import (
	"bytes"
	"fmt"
	"os"
)

// Kmsg writes lines into the kernel's log, where dmesg shows them among the kernel's own and pstore may save them
// over a crash.
//
// They have the level debug, which the kernel does not print on a console by default: it prints in the caller's
// context (kernel/printk/printk.c, devkmsg_write), and would make PID 1 wait for a slow line after all. A machine may
// also limit the rate (/proc/sys/kernel/printk_devkmsg); what is over it is lost.
type Kmsg struct{ f *os.File }

// levelDebug is the facility user (1) and the severity debug (7), as RFC 5424 counts.
const levelDebug = 1<<3 | 7

// maxRecord is what /dev/kmsg takes in one write (kernel/printk/printk.c, LOG_LINE_MAX), with room for the prefix.
const maxRecord = 976

// OpenKmsg opens the kernel's log at path (/dev/kmsg).
func OpenKmsg(path string) (*Kmsg, error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("open kernel log: %w", err)
	}
	return &Kmsg{f: f}, nil
}

// Write makes a record of each line of p.
func (k *Kmsg) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		line = bytes.TrimRight(line, "\n")
		if len(line) > maxRecord {
			line = line[:maxRecord]
		}
		if _, err := k.f.Write(fmt.Appendf(nil, "<%d>%s\n", levelDebug, line)); err != nil {
			return 0, fmt.Errorf("write kernel log: %w", err)
		}
	}
	return len(p), nil
}

// Close closes the log.
func (k *Kmsg) Close() error { return k.f.Close() }
