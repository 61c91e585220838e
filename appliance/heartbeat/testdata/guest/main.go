// Command guest is PID 1 of the virtual machine at the other end of the cable in the test of package heartbeat: head 1,
// whose only link is /dev/ttyS1.
package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"masthead/appliance/failover"
	"masthead/appliance/heartbeat"
)

func main() {
	if err := run(); err != nil {
		fmt.Println("FAILED", err)
	}
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func run() error {
	for _, m := range []struct{ kind, dir string }{{"proc", "/proc"}, {"devtmpfs", "/dev"}} {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.dir, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	console, err := os.OpenFile("/dev/ttyS0", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	os.Stdout, os.Stderr = console, console
	cmdline, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	_, word, _ := strings.Cut(string(cmdline), "test.key=")
	word, _, _ = strings.Cut(strings.TrimSpace(word), " ")
	key, err := hex.DecodeString(word)
	if err != nil {
		return err
	}
	if err := heartbeat.Realtime(10); err != nil {
		return err
	}
	h, err := heartbeat.New(heartbeat.Config{Cluster: "c1", Self: 1, Key: key, Serial: []heartbeat.Serial{{Device: "/dev/ttyS1", Peer: 0}}})
	if err != nil {
		return err
	}
	h.Say(failover.Said{BootID: 11, Epoch: 2, For: -1})
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	go func() {
		defer cancel()
		for ctx.Err() == nil { // the head at the host ends it
			<-h.Changed()
			if h.Said(0).Leaving {
				fmt.Printf("LINK %+v\n", h.Links()[0])
				return
			}
		}
	}()
	fmt.Println("UP")
	return h.Run(ctx)
}
