package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"masthead/builder"
	diskimage "masthead/builder/disk"
	"masthead/images/disk"
	"masthead/vmtest"
)

func (a *app) buildDiskCommand() *cobra.Command {
	var f buildFlags
	var size string
	cmd := &cobra.Command{
		Use:   "disk DEFINITION",
		Short: "Build the raw image of a disk on which the ISO is installed: starts by BIOS, UEFI and with Secure Boot",
		Example: "  masthead build disk images/head.yaml -o out --size 32G\n" +
			"  qemu-img convert -O qcow2 out/head.img head.qcow2   # for a hypervisor",
		Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.checkKeys(cmd, args[0]); err != nil {
				return err
			}
			f.signShim = f.signKey != ""
			bytes := vmtest.Size(0)
			if size != "" {
				var err error
				if bytes, err = vmtest.ParseSize(size); err != nil {
					return usageError{&hint{fmt.Errorf("--size: %w", err), fmt.Sprintf("masthead build disk %s --size 32G", args[0])}}
				}
			}
			return a.buildDisk(cmd.Context(), args[0], int64(bytes), f)
		},
	}
	f.add(cmd, true)
	f.addKeys(cmd, "sign shim; nobody checks the initramfs")
	cmd.Flags().StringVar(&size, "size", "", "bytes of the disk, with K, M or G (default: the fewest that are of use); the file is sparse")
	return cmd
}

func (a *app) buildDisk(ctx context.Context, file string, size int64, f buildFlags) error {
	if size != 0 { // before an image is built for nothing
		if err := diskimage.Fits(size, 0); err != nil {
			return &hint{fmt.Errorf("%w, and twice the ISO", err), "masthead build disk " + file + ", which makes it as large as is of use"}
		}
	}
	err := a.buildMedium(ctx, file, ".img", f, func(b *builder.Builder, m medium, out string) (int64, error) {
		return b.Disk(ctx, m.def, m.built, m.carried, size, out)
	})
	if err == nil && f.dryRun && size != 0 {
		fmt.Fprintf(a.out, "would divide %s; whether two slots with the ISO fit there shows when it is built\n", bytesText(size))
	}
	if small := (*disk.TooSmallError)(nil); errors.As(err, &small) {
		return &hint{err, fmt.Sprintf("masthead build disk %s --size %dM", file, (small.Need+1<<20-1)>>20)}
	}
	return err
}
