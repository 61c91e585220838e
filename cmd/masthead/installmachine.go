package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
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
	open func() (isoSource, error)
	mkfs string // program
}

// isoSource is the ISO that is installed, open.
type isoSource struct {
	iso    io.ReaderAt
	loader fs.FS // the medium's files, among them those of the loader
	close  func() error
}

func (a *app) lookMachine() (machine, error) {
	medium, err := install.MediumDevice("/proc/self/mountinfo")
	if err != nil {
		return machine{}, &hint{err, "start this machine from an ISO: masthead build iso images/head.yaml"}
	}
	f, v, err := install.OpenISO(medium)
	if err != nil {
		return machine{}, err
	}
	defer f.Close()
	m, err := lookAround(v, medium)
	m.open = func() (isoSource, error) {
		f, err := os.Open(medium)
		if err != nil {
			return isoSource{}, fmt.Errorf("open the ISO: %w", err)
		}
		return isoSource{f, os.DirFS(images.MediumMount), f.Close}, nil
	}
	return m, err
}

// lookAround is all that is known of this machine, for an installation of v. medium is the device that it was started from.
func lookAround(v *install.Volume, medium string) (machine, error) {
	m := machine{mkfs: programPath("mkfs.ext4")}
	m.Mkfs = m.mkfs != ""
	var err error
	if m.Source, _, err = v.Head(); err != nil {
		return m, fmt.Errorf("the ISO to install: %w", err)
	}
	if m.Disks, err = install.Look("/sys", "/proc", "/dev", medium); err != nil {
		return m, err
	}
	if m.NICs, err = install.LookNICs("/sys"); err != nil {
		return m, fmt.Errorf("list network cards: %w", err)
	}
	return m, nil
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

// checkSource reads the ISO that this machine was started from, before the disk is touched. An ISO that comes from a head is
// not read twice through the network for it: that head runs from it, and the copy is checked on the disk.
func checkSource(ctx context.Context, m machine, p install.Plan, progress install.Progress) error {
	if p.Copied() {
		return nil
	}
	source, err := m.open()
	if err != nil {
		return err
	}
	defer source.close()
	if err := install.CheckISO(ctx, source.iso, p.Source, progress); err != nil {
		return fmt.Errorf("%w; nothing was written", err)
	}
	return nil
}

// runInstall does what was planned.
func runInstall(ctx context.Context, m machine, p install.Plan, progress install.Progress) error {
	if os.Geteuid() != 0 {
		return &hint{errors.New("a disk can be written by root only"), "sudo masthead install"}
	}
	source, err := m.open()
	if err != nil {
		return err
	}
	defer source.close()
	loader, err := disk.ReadLoader(source.loader)
	if err != nil {
		return err
	}
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
	return install.Run(ctx, &install.Job{
		Plan: p, Disk: target, Source: source.iso, Loader: loader, Progress: progress, Now: time.Now,
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
