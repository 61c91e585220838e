package vmtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
)

// makeBlank makes a sparse file of a size at path, with an empty ext4 file system
// where a label is given, unless the file is there from before.
func makeBlank(ctx context.Context, path string, d DiskConfig) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// Under another name until it is done: half a file system must not be kept.
	unfinished := path + ".part"
	file, err := os.Create(unfinished)
	if err != nil {
		return fmt.Errorf("blank disk: %w", err)
	}
	err = file.Truncate(int64(d.Size))
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("blank disk %s: %w", path, err)
	}
	if d.Label != "" {
		if err := formatExt4(ctx, unfinished, d.Label); err != nil {
			return fmt.Errorf("blank disk %s: %w", path, err)
		}
	}
	if err := os.Rename(unfinished, path); err != nil {
		return fmt.Errorf("blank disk: %w", err)
	}
	return nil
}

// discard removes the machine's blank disks, with what is on them.
func (m *Machine) discard() error {
	var errs []error
	for i, d := range m.Config.Disks {
		if d.Path != "" {
			continue
		}
		if err := os.Remove(blankPath(m.folder, i)); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// formatExt4 works on a plain file, and needs no root for that.
func formatExt4(ctx context.Context, path, label string) error {
	mkfs, err := findMkfs()
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, mkfs, "-q", "-F", "-L", label, path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mkfs.ext4: %w: %s", err, out)
	}
	return nil
}

// findMkfs looks also where a user's PATH does not.
func findMkfs() (string, error) {
	for _, name := range []string{"mkfs.ext4", "/usr/sbin/mkfs.ext4", "/sbin/mkfs.ext4"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("no mkfs.ext4: install e2fsprogs")
}
