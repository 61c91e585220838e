package slot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"masthead/images/disk"
)

// Environment is GRUB's block on an EFI system partition, which is mounted for as long as it is read or written: a power
// cut then finds nothing to repair.
type Environment struct {
	ESP string // device
}

// Read gives what GRUB and the system have told each other.
func (e Environment) Read() (disk.Env, error) {
	var env disk.Env
	err := e.mounted(unix.MS_RDONLY, func(file string) (err error) {
		env, err = disk.ReadEnv(file)
		return err
	})
	return env, err
}

// Write tells GRUB, and returns when it is on the disk.
func (e Environment) Write(env disk.Env) error {
	return e.mounted(0, func(file string) error { return disk.WriteEnv(file, env) })
}

func (e Environment) mounted(flags uintptr, do func(file string) error) error {
	dir, err := os.MkdirTemp("", "masthead-esp-")
	if err != nil {
		return fmt.Errorf("mount %s: %w", e.ESP, err)
	}
	defer os.Remove(dir)
	if err := unix.Mount(e.ESP, dir, "vfat", flags|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "umask=0077"); err != nil {
		return fmt.Errorf("mount %s as vfat: %w", e.ESP, err)
	}
	err = do(filepath.Join(dir, disk.ESPEnv))
	return errors.Join(err, unix.Unmount(dir, 0))
}
