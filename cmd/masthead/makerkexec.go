package main

import (
	"context"
	"fmt"

	"masthead/appliance/maker/login"
	"masthead/node"
)

// makerKexec starts, on a server that runs any Linux, a kernel that comes on standard input: it is held in memory alone.
func (a *app) makerKexec(ctx context.Context) error {
	kernel, ramfs, cmdline, err := login.ReadKexec(a.in)
	if err != nil {
		return err
	}
	defer kernel.Close()
	defer ramfs.Close()
	if err := node.LoadKernel(kernel, ramfs, cmdline); err != nil {
		return err
	}
	fmt.Fprintln(a.out, login.KexecLoaded)
	return node.RestartLoaded(ctx)
}
