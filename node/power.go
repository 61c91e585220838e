package node

import (
	"context"
	"fmt"
	"os/exec"

	"golang.org/x/sys/unix"
)

// PowerOff ends this machine in order and switches it off. It returns as soon as PID 1 knows.
func PowerOff(ctx context.Context) error {
	if line("/proc/1/comm") == "systemd" {
		out, err := exec.CommandContext(ctx, "systemctl", "poweroff").CombinedOutput()
		if err != nil {
			return fmt.Errorf("systemctl poweroff: %w: %s", err, out)
		}
		return nil
	}
	if err := unix.Kill(1, signalPowerOff); err != nil {
		return fmt.Errorf("tell PID 1 to power off: %w", err)
	}
	return nil
}
