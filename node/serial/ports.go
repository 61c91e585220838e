// Package serial tells which serial ports of this machine are free, and finds out by sending and hearing a frame which of
// them is connected to which of another machine.
package serial

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Port is one serial port.
type Port struct {
	Device string `json:"device"`        // /dev/ttyS1
	Use    string `json:"use,omitempty"` // what it is used for; empty: it is free
}

// Ports lists the serial ports that are there, with what they are used for. sys and proc are the mount points of those
// file systems, dev that of the devices.
func Ports(sys, proc, dev string) ([]Port, error) {
	names, err := present(sys)
	if err != nil {
		return nil, fmt.Errorf("list serial ports: %w", err)
	}
	consoles, err := kernelConsoles(proc)
	if err != nil {
		return nil, fmt.Errorf("list serial ports: %w", err)
	}
	var ports []Port
	for _, name := range names {
		p := Port{Device: filepath.Join(dev, name)}
		if slices.Contains(consoles, name) {
			p.Use = "the kernel's console"
		} else if who := holder(proc, p.Device); who != "" {
			p.Use = "open in " + who
		}
		ports = append(ports, p)
	}
	return ports, nil
}

// present are the names of the ports behind which there is hardware: the 8250 driver makes four or more in any case, and
// those without a UART have the type 0 (PORT_UNKNOWN of include/uapi/linux/serial_core.h).
func present(sys string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(sys, "class/tty"))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		name := e.Name()
		if !strings.HasPrefix(name, "ttyS") && !strings.HasPrefix(name, "ttyUSB") {
			continue
		}
		kind, err := os.ReadFile(filepath.Join(sys, "class/tty", name, "type"))
		if err == nil && strings.TrimSpace(string(kind)) == "0" {
			continue
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // USB adapters have no such file
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

// kernelConsoles are the names in /proc/consoles (Documentation/admin-guide/serial-console.rst).
func kernelConsoles(proc string) ([]string, error) {
	f, err := os.Open(filepath.Join(proc, "consoles"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var names []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) > 0 {
			names = append(names, fields[0])
		}
	}
	return names, lines.Err()
}

// holder is a process that has the device open: a getty, a heartbeat. Processes that come and go are no holders.
func holder(proc, device string) string {
	fds, err := filepath.Glob(filepath.Join(proc, "[0-9]*/fd/*"))
	if err != nil {
		return ""
	}
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err != nil || target != device {
			continue
		}
		dir := filepath.Dir(filepath.Dir(fd))
		name, err := os.ReadFile(filepath.Join(dir, "comm"))
		if err != nil {
			continue
		}
		return strings.TrimSpace(string(name)) + " (" + filepath.Base(dir) + ")"
	}
	return ""
}
