// Command guest is PID 1 of the virtual machine that the test of package watchdog has reset. With the argument "feed" it
// is the process that feeds the watchdog. It prints one line for each thing that has happened, with the seconds since
// the boot.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"masthead/appliance/watchdog"
	"masthead/node/kmod"
)

const (
	timeout = 2 * time.Second
	// lives is how long the machine must live while it is fed, or after an orderly end.
	lives = 2 * timeout
)

func main() {
	var err error
	if len(os.Args) > 1 && os.Args[1] == "feed" {
		err = feed()
	} else {
		err = run()
	}
	if err != nil {
		say("FAILED", err)
	}
	if os.Getpid() == 1 {
		unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	}
}

func say(args ...any) {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	fmt.Printf("WATCHDOG %.1f %s", time.Duration(ts.Nano()).Seconds(), fmt.Sprintln(args...))
}

// feed feeds until it is told to end in order, or is killed.
func feed() error {
	w, err := watchdog.Open(watchdog.Config{Timeout: timeout, Load: load})
	if err != nil {
		return err
	}
	say("OPENED", w)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGTERM)
	tick := time.NewTicker(timeout / 4)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return w.Close(true)
		case <-tick.C:
			if err := w.Feed(); err != nil {
				return err
			}
		}
	}
}

func load(module string) error {
	l, err := kmod.New("/", "")
	if err != nil {
		return err
	}
	return l.Load(context.Background(), module, "")
}

func run() error {
	for _, m := range []struct{ kind, dir string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		if err := unix.Mount(m.kind, m.dir, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	cmdline, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	for _, word := range strings.Fields(string(cmdline)) {
		if module, ok := strings.CutPrefix(word, "test.load="); ok {
			if err := load(module); err != nil {
				return err
			}
		}
	}
	say("UP")
	feeder, err := begin()
	if err != nil {
		return err
	}
	time.Sleep(lives) // the guest only lets the time go by: that it does is what the test is about
	say("LIVES while it is fed")
	if err := errors.Join(feeder.Process.Signal(unix.SIGTERM), feeder.Wait()); err != nil {
		return err
	}
	time.Sleep(lives)
	say("LIVES after an orderly end")
	if feeder, err = begin(); err != nil {
		return err
	}
	time.Sleep(timeout)
	if err := feeder.Process.Kill(); err != nil {
		return err
	}
	feeder.Wait()
	say("KILLED")
	for range 10 {
		time.Sleep(time.Second)
		say("WAITS")
	}
	return errors.New("the machine lives without being fed")
}

// begin starts the process that feeds.
func begin() (*exec.Cmd, error) {
	c := exec.Command("/proc/self/exe", "feed")
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	return c, c.Start()
}
