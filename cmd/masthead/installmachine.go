package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"masthead/appliance/install"
	"masthead/images"
	"masthead/images/disk"
)

// machine is this machine as an installation sees it, and the ISO that it was started from.
type machine struct {
	install.Machine
	medium string // device
	mkfs   string // program
}

func (a *app) lookMachine() (machine, error) {
	medium, err := mediumDevice("/proc/self/mountinfo")
	if err != nil {
		return machine{}, &hint{err, "start this machine from an ISO: masthead build iso images/head.yaml"}
	}
	m := machine{medium: medium, mkfs: programPath("mkfs.ext4")}
	m.Mkfs = m.mkfs != ""
	f, v, err := openISO(medium)
	if err != nil {
		return machine{}, err
	}
	defer f.Close()
	if m.Source, _, err = v.Head(); err != nil {
		return machine{}, fmt.Errorf("%s: %w", medium, err)
	}
	if m.Disks, err = install.Look("/sys", "/proc", "/dev", medium); err != nil {
		return machine{}, err
	}
	if m.NICs, err = install.LookNICs("/sys"); err != nil {
		return machine{}, fmt.Errorf("list network cards: %w", err)
	}
	return m, nil
}

// mediumDevice is the device that is mounted where init mounts what it boots from.
func mediumDevice(mountinfo string) (string, error) {
	data, err := os.ReadFile(mountinfo)
	if err != nil {
		return "", fmt.Errorf("find the boot medium: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		before, after, ok := strings.Cut(line, " - ")
		at, from := strings.Fields(before), strings.Fields(after)
		if ok && len(at) > 4 && at[4] == images.MediumMount && len(from) > 1 {
			return from[1], nil
		}
	}
	return "", errors.New("this machine was not started from an ISO of masthead")
}

// openISO opens an ISO in a file, on a device or in a slot.
func openISO(path string) (*os.File, *install.Volume, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("open the ISO: %w", err)
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil {
		var v *install.Volume
		if v, err = install.OpenVolume(f, size); err == nil {
			return f, v, nil
		}
	}
	f.Close()
	return nil, nil, fmt.Errorf("%s: %w", path, err)
}

// programPath finds a program that only root has in its PATH.
func programPath(name string) string {
	for _, path := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	return ""
}

// runInstall does what was planned.
func (a *app) runInstall(ctx context.Context, m machine, p install.Plan) error {
	if os.Geteuid() != 0 {
		return &hint{errors.New("a disk can be written by root only"), "sudo masthead install"}
	}
	loader, err := disk.ReadLoader(os.DirFS(images.MediumMount))
	if err != nil {
		return err
	}
	iso, err := os.Open(m.medium)
	if err != nil {
		return fmt.Errorf("open the ISO: %w", err)
	}
	defer iso.Close()
	// O_EXCL: the kernel refuses where somebody has mounted a part of the disk (open(2), block devices). It cannot be kept:
	// the state's partition is formatted and mounted meanwhile.
	free, err := os.OpenFile(p.Disk.Path, os.O_RDWR|unix.O_EXCL, 0)
	if err != nil {
		return fmt.Errorf("open the disk: %w", err)
	}
	if err := free.Close(); err != nil {
		return fmt.Errorf("open the disk: %w", err)
	}
	target, err := os.OpenFile(p.Disk.Path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open the disk: %w", err)
	}
	defer target.Close()
	show := newInstallProgress(a.err)
	defer show.close()
	return install.Run(ctx, &install.Job{
		Plan: p, Disk: target, Source: iso, Loader: loader, Progress: show.update, Now: time.Now,
		Partition: func(ctx context.Context, number int) (string, error) {
			return install.Await(ctx, "/sys", "/dev", p.Disk.Device, number)
		},
		Format: func(ctx context.Context, device string) error { return format(ctx, m.mkfs, device) },
		Mount:  install.MountState,
	})
}

// format makes the file system of a head's state.
func format(ctx context.Context, mkfs, device string) error {
	out, err := exec.CommandContext(ctx, mkfs, "-q", "-F", "-m", "0", "-L", images.StateLabel, device).CombinedOutput()
	if err != nil {
		return fmt.Errorf("format %s: %w: %s", device, err, strings.TrimSpace(string(out)))
	}
	return nil
}
