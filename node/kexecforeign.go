package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/u-root/u-root/pkg/boot/kexec"
	"golang.org/x/sys/unix"
)

// LoadKernel loads a kernel for the next restart of a machine that anybody's Linux runs on.
func LoadKernel(kernel, ramfs *os.File, cmdline string) error {
	err := kexec.FileLoad(kernel, ramfs, cmdline)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("this kernel has no kexec_file_load(2): %w", err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOKEY), errors.Is(err, unix.EKEYREJECTED):
		return fmt.Errorf("this kernel refuses the other one (kernel lockdown, or its signature): %w", err)
	}
	return fmt.Errorf("kexec: %w", err)
}

// RestartLoaded restarts into the kernel that was loaded: by systemd in order, else at once, after what is unwritten is
// written. It returns as soon as systemd knows.
func RestartLoaded(ctx context.Context) error {
	if line("/proc/1/comm") == "systemd" {
		out, err := exec.CommandContext(ctx, "systemctl", "kexec").CombinedOutput()
		if err == nil {
			return nil
		}
		// Distributions without kexec-tools have a systemd that does not know the verb; the kernel is loaded all the same.
		fmt.Fprintf(os.Stderr, "systemctl kexec: %v: %s", err, out)
	}
	unix.Sync()
	return kexec.Reboot()
}
