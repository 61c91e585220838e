package node

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"masthead/images"
)

// The ext4 superblock (Documentation/filesystems/ext4/super.rst): 1024 bytes in, magic at 0x38, label at 0x78.
const (
	ext4Super     = 1024
	ext4Magic     = 0xEF53
	ext4MagicAt   = 0x38
	ext4LabelAt   = 0x78
	ext4LabelSize = 16
)

// ext4Label reads the label of an ext2, ext3 or ext4 file system.
func ext4Label(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var sb [ext4LabelAt + ext4LabelSize]byte
	if _, err := f.ReadAt(sb[:], ext4Super); err != nil {
		return "", err
	}
	if binary.LittleEndian.Uint16(sb[ext4MagicAt:]) != ext4Magic {
		return "", errors.New("not ext4")
	}
	return string(bytes.TrimRight(sb[ext4LabelAt:], "\x00")), nil
}

// findLabel gives the block device with the ext4 label, or "" where there is none.
func findLabel(sys, dev, label string) (string, error) {
	devices, err := os.ReadDir(filepath.Join(sys, "class/block"))
	if err != nil {
		return "", fmt.Errorf("look for the file system %s: %w", label, err)
	}
	for _, d := range devices {
		if got, err := ext4Label(filepath.Join(dev, d.Name())); err == nil && got == label {
			return filepath.Join(dev, d.Name()), nil
		}
	}
	return "", nil
}

// mountState puts the head's state on its disk. Without such a disk the state lives in memory, which is said. A disk
// that is there and cannot be mounted stops the boot: a head that went on with an empty state would forget its cluster.
func (in *Init) mountState(ctx context.Context) error {
	if in.disk != nil {
		return in.bindState()
	}
	if in.boot.State == "none" {
		in.log.Warn("the head's state is kept in memory, as asked")
		return nil
	}
	device, err := findLabel("/sys", "/dev", in.boot.State)
	if err != nil {
		return err
	}
	if device == "" {
		in.log.Warn("no file system is labelled "+in.boot.State+": the head's state is kept in memory and lost at power-off",
			"try", "mkfs.ext4 -L "+in.boot.State+" DISK")
		return nil
	}
	if err := in.loader.Load(ctx, "ext4", ""); err != nil {
		return fmt.Errorf("load module ext4: %w", err)
	}
	dir := filepath.Join(newRoot, images.StateDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("mount the head's state: %w", err)
	}
	if err := guestRoot(newRoot).check(ctx, device, in.log); err != nil {
		return damaged(device, err)
	}
	if err := unix.Mount(device, dir, "ext4", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOATIME, ""); err != nil {
		return damaged(device, fmt.Errorf("mount the head's state from %s: %w", device, err))
	}
	in.log.Info("state", "device", device)
	return nil
}

// bindState shows the state of an installed head where every head has it. Programs and devices that lie in the root's
// overlay, on the same partition, are not to be used from there.
func (in *Init) bindState() error {
	if !in.kept {
		return nil // which was said
	}
	dir := filepath.Join(newRoot, images.StateDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("mount the head's state: %w", err)
	}
	err := unix.Mount(images.StateMount, dir, "", unix.MS_BIND, "")
	if err == nil {
		err = unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOATIME, "")
	}
	if err != nil {
		return fmt.Errorf("mount the head's state: %w", err)
	}
	in.log.Info("state", "device", in.disk.State)
	return nil
}
