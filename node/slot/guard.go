package slot

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"masthead/images"
)

// GuardName is what the process is called that ends a trial in time. It begins with '@' so that systemd spares it at
// shutdown, as it does the server of the root.
const GuardName = "@masthead-trial"

const (
	// DefaultDeadline is how long a new image may take to be found healthy: a server whose firmware is through boots in a
	// minute or two, and a state with many images in it takes some more to be compared.
	DefaultDeadline = 10 * time.Minute
	// GuardGrace is what the health check gets beyond its deadline to say what it lacked and to restart in order.
	GuardGrace = time.Minute

	// goodFile in images.RunDir says that this boot has been found healthy.
	goodFile = "slot.good"
)

// StartGuard starts the process. It needs nothing but memory: neither the root nor its init have to work.
func StartGuard(binary string, deadline time.Duration) error {
	dir, err := os.Open(images.RunDir) // before it moves into the root
	if err != nil {
		return fmt.Errorf("guard the trial: %w", err)
	}
	defer dir.Close()
	cmd := &exec.Cmd{
		Path: binary, Args: []string{GuardName, strconv.Itoa(int(deadline.Seconds()))}, Dir: "/",
		ExtraFiles: []*os.File{dir}, SysProcAttr: &unix.SysProcAttr{Setsid: true},
	}
	if log, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0); err == nil { // before it moves, too
		defer log.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, log)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("guard the trial: %w", err)
	}
	return cmd.Process.Release()
}

// Descriptors in the process: of images.RunDir, and of the kernel's log, if that could be opened.
const (
	guardDir = 3
	guardLog = 4
)

// Guard is that process: it restarts the machine at the deadline, unless the boot was found healthy by then.
func Guard(args []string) error {
	if len(args) != 2 {
		return errors.New("want the seconds to the deadline")
	}
	seconds, err := strconv.Atoi(args[1])
	if err != nil {
		return fmt.Errorf("deadline: %w", err)
	}
	time.Sleep(time.Duration(seconds) * time.Second) // the deadline is all there is to wait for
	var st unix.Stat_t
	if unix.Fstatat(guardDir, goodFile, &st, 0) == nil {
		return nil
	}
	_, _ = unix.Write(guardLog, []byte("<2>masthead: the slot on trial was not found healthy in time: restart\n"))
	unix.Sync()
	return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

// TellGuard lets the trial be: this boot has been found healthy.
func TellGuard() error {
	if err := os.WriteFile(images.RunDir+"/"+goodFile, nil, 0o600); err != nil {
		return fmt.Errorf("tell the guard of the trial: %w", err)
	}
	return nil
}
