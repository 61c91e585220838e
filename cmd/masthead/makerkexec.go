package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"masthead/node"
)

// makerKexec starts, on a server that runs any Linux, a kernel that comes on standard input: it is held in memory alone.
func (a *app) makerKexec(ctx context.Context) error {
	in := bufio.NewReader(a.in)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read what is to be started: %w", err)
	}
	var order kexecOrder
	if err := json.Unmarshal(line, &order); err != nil {
		return fmt.Errorf("read what is to be started: %w", err)
	}
	kernel, err := inMemory("vmlinuz", in, order.Kernel)
	if err != nil {
		return err
	}
	defer kernel.Close()
	ramfs, err := inMemory("initramfs", in, order.Initramfs)
	if err != nil {
		return err
	}
	defer ramfs.Close()
	if err := node.LoadKernel(kernel, ramfs, order.Cmdline); err != nil {
		return err
	}
	fmt.Fprintln(a.out, kexecLoaded)
	return node.RestartLoaded(ctx)
}

// inMemory is a file without a disk, with the next bytes of r.
func inMemory(name string, r io.Reader, size int64) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := io.CopyN(f, r, size); err != nil {
		f.Close()
		return nil, fmt.Errorf("receive %s of %d bytes: %w", name, size, err)
	}
	return f, nil
}
