// Command coldplug is the init of a test machine: it loads modules as the real init does, says what it found, and
// switches the machine off.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"masthead/node/kmod"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(); err != nil {
		fmt.Println("TEST error:", err)
	}
	fmt.Println("TEST end")
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Println("TEST power off:", err)
	}
	select {} // PID 1 must not end
}

func run() error {
	var errs []error
	for _, m := range []struct{ kind, dir string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		if err := unix.Mount(m.kind, m.dir, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	fmt.Println("TEST init at", uptime())
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	start := time.Now()
	l, err := kmod.New("/", "")
	if err != nil {
		return err
	}
	tables := time.Since(start)
	for name, params := range map[string]string{"nbd": "max_part=0", "erofs": "", "overlay": "", "ext4": "", "fs-iso9660": "", "dmi-sysfs": ""} {
		errs = append(errs, l.Load(ctx, name, params))
	}
	early := time.Since(start)
	loaded, err := l.Coldplug(ctx)
	if err != nil {
		fmt.Println("TEST coldplug:", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	fmt.Println("TEST loaded", strings.Join(loaded, " "))
	fmt.Printf("TEST seconds tables %.3f early %.3f coldplug %.3f\n", tables.Seconds(), (early - tables).Seconds(), (time.Since(start) - early).Seconds())

	// A USB stick shows up later; Watch is there for it.
	watching, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- l.Watch(watching, func(err error) { fmt.Println("TEST watch:", err) }) }()
	for range 300 {
		if !strings.Contains(read("/proc/cmdline"), "test.usb") {
			break
		}
		if _, err := os.Stat("/sys/class/block/sda"); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond) // a guest's poll of its own devices, bounded
	}
	stop()
	errs = append(errs, <-done)

	fmt.Println("TEST net", ls("/sys/class/net/*"))
	fmt.Println("TEST block", ls("/sys/class/block/*"))
	fmt.Println("TEST max_part", read("/sys/module/nbd/parameters/max_part"), "nbds_max", read("/sys/module/nbd/parameters/nbds_max"))
	fmt.Println("TEST filesystems", strings.Join(strings.Fields(strings.ReplaceAll(read("/proc/filesystems"), "nodev", "")), " "))
	fmt.Println("TEST memory", meminfo("MemTotal:"), meminfo("MemAvailable:"))
	var node unix.Stat_t
	errs = append(errs, unix.Stat("/dev/null", &node))
	return errors.Join(errs...)
}

func ls(pattern string) string {
	files, err := filepath.Glob(pattern)
	if err != nil {
		return err.Error()
	}
	for i := range files {
		files[i] = filepath.Base(files[i])
	}
	slices.Sort(files)
	return strings.Join(files, " ")
}

func read(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(data))
}

func uptime() string { return strings.Fields(read("/proc/uptime") + " ?")[0] }

func meminfo(key string) string {
	for line := range strings.Lines(read("/proc/meminfo")) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			return strings.TrimSpace(rest)
		}
	}
	return "?"
}
