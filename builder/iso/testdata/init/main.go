// Command init is PID 1 of the guests that test the ISO image. It says on the
// console how it was booted and what it reads from the medium, and powers off.
//
// Which device the medium is comes in the SMBIOS product serial, since the
// command line is part of what is tested: "vda", "sr0" or "none".
package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(); err != nil {
		fmt.Println("GUEST error", err)
	}
	fmt.Println("GUEST end")
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func run() error {
	for _, m := range []struct{ kind, dir string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.dir, m.kind, 0, ""); err != nil && err != unix.EBUSY {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	// Kernel messages would break the lines that the test reads.
	if err := os.WriteFile("/proc/sys/kernel/printk", []byte("1"), 0); err != nil {
		return err
	}
	firmware := "bios"
	if _, err := os.Stat("/sys/firmware/efi"); err == nil {
		firmware = "uefi"
	}
	fmt.Println("GUEST firmware", firmware)
	cmdline, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	fmt.Println("GUEST cmdline", string(bytes.TrimSpace(cmdline)))
	serial, err := os.ReadFile("/sys/class/dmi/id/product_serial")
	if err != nil {
		return err
	}
	if medium := string(bytes.TrimSpace(serial)); medium != "none" {
		return readMedium(medium)
	}
	return nil
}

func readMedium(name string) error {
	modules, err := filepath.Glob("/modules/*.ko")
	if err != nil {
		return err
	}
	for _, m := range modules { // named in the order to load
		if err := load(m); err != nil {
			return fmt.Errorf("load %s: %w", m, err)
		}
	}
	device := "/dev/" + name
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := os.MkdirAll("/medium", 0o755)
		if err == nil {
			err = unix.Mount(device, "/medium", "iso9660", unix.MS_RDONLY, "utf8")
		}
		if err == nil {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("mount %s: %w", device, err)
		}
	}
	if size, err := os.ReadFile("/sys/block/" + name + "/" + name + "1/size"); err == nil {
		fmt.Println("GUEST partition", string(bytes.TrimSpace(size)))
	}
	return filepath.WalkDir("/medium", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			return err
		}
		rel, err := filepath.Rel("/medium", path)
		fmt.Printf("GUEST file %x %q\n", h.Sum(nil), rel)
		return err
	})
}

func load(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && err != unix.EEXIST {
		return err
	}
	return nil
}
