package tools

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Power is how a machine is to end.
type Power int

// The ends of a machine.
const (
	PowerOff Power = iota
	PowerReboot
)

// Signals by which masthead's PID 1 is asked for an orderly end. SIGINT is also what the kernel sends to PID 1 on
// Ctrl-Alt-Del (kernel/reboot.c, ctrl_alt_del), and SIGUSR2 what busybox's poweroff sends.
const (
	SignalPowerOff = unix.SIGUSR2
	SignalReboot   = unix.SIGINT
)

// Signal is the signal that asks for p.
func (p Power) Signal() unix.Signal {
	if p == PowerOff {
		return SignalPowerOff
	}
	return SignalReboot
}

func signalInit(p Power) error {
	if err := unix.Kill(1, p.Signal()); err != nil {
		return fmt.Errorf("signal PID 1: %w", err)
	}
	return nil
}

func powers(h Hooks) []Tool {
	end := func(name string, p Power, summary string, cmd int) Tool {
		return own(name, "[-f]", summary+"; -f: at once, without PID 1", "f", func(c *call) error {
			if len(c.args) > 0 {
				return errUsage
			}
			if !c.has("f") {
				return h.Power(p)
			}
			unix.Sync()
			if err := unix.Reboot(cmd); err != nil {
				return fmt.Errorf("ask the kernel: %w", err)
			}
			return nil
		})
	}
	return []Tool{
		end("poweroff", PowerOff, "end everything and switch the machine off", unix.LINUX_REBOOT_CMD_POWER_OFF),
		end("reboot", PowerReboot, "end everything and start the machine again", unix.LINUX_REBOOT_CMD_RESTART),
	}
}
