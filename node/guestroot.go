package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"masthead/images"
)

// guestRoot is a root whose programs are used before it is /, such as mkfs.ext4: the initramfs has none.
type guestRoot string

// errNoTool is a program that the root does not have.
var errNoTool = errors.New("the root does not have it")

// find gives the path of a program inside the root.
func (g guestRoot) find(name string) (string, error) {
	root, err := os.OpenRoot(string(g))
	if err != nil {
		return "", err
	}
	defer root.Close()
	for _, dir := range []string{"usr/sbin", "sbin"} {
		if st, err := root.Stat(filepath.Join(dir, name)); err == nil && st.Mode().IsRegular() {
			return "/" + filepath.Join(dir, name), nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, errNoTool)
}

// run runs a program of the root inside it, with the devices of the machine.
func (g guestRoot) run(ctx context.Context, name string, args ...string) (string, error) {
	path, err := g.find(name)
	if err != nil {
		return "", err
	}
	dev := filepath.Join(string(g), "dev")
	if err := unix.Mount("/dev", dev, "", unix.MS_BIND, ""); err != nil {
		return "", fmt.Errorf("%s: show it the devices: %w", name, err)
	}
	defer unix.Unmount(dev, unix.MNT_DETACH)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = environment()
	cmd.Dir = "/"
	cmd.SysProcAttr = &unix.SysProcAttr{Chroot: string(g)}
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// format makes the file system for a head's state.
func (g guestRoot) format(ctx context.Context, device string) error {
	out, err := g.run(ctx, "mkfs.ext4", "-q", "-F", "-m", "0", "-L", images.StateLabel, device)
	if err != nil {
		return fmt.Errorf("format %s for the head's state: %w: %s", device, err, out)
	}
	return nil
}

// Exit codes of e2fsck (e2fsck(8)): bits.
const (
	fsckCorrected = 1
	fsckReboot    = 2 // only of a file system that is mounted
)

// check repairs what can be repaired without asking, such as after a power cut. A root without e2fsck leaves that to the
// kernel, which replays the journal.
func (g guestRoot) check(ctx context.Context, device string, log *slog.Logger) error {
	out, err := g.run(ctx, "e2fsck", "-p", device)
	var exit *exec.ExitError
	switch {
	case errors.Is(err, errNoTool):
		return nil
	case err == nil:
		return nil
	case errors.As(err, &exit) && exit.ExitCode()&^(fsckCorrected|fsckReboot) == 0:
		log.Warn("the head's state was repaired", "device", device, "e2fsck", strings.ReplaceAll(out, "\n", "; "))
		return nil
	}
	return fmt.Errorf("check the head's state on %s: %w: %s", device, err, out)
}
