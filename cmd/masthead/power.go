package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"masthead/images"
	"masthead/node"
	"masthead/node/agent"
)

// How masthead reboot says that the machine restarts. Another one reads it: node roll.
const (
	saysSoft     = "restarting softly"
	saysKexec    = "restarting by kexec"
	saysFirmware = "restarting through the firmware"
)

// powerCommand restarts the machine that it runs on.
func (a *app) powerCommand() *cobra.Command {
	var viaKexec, soft, dryRun bool
	cmd := &cobra.Command{
		Use: "reboot", Short: "Restart this machine in order: through the firmware, with --kexec past it, with --soft without the kernel", Args: exactArgs(0),
		Long: "Restarts this machine in order, into the image that its head wants it to run now.\n\n" +
			"--kexec goes straight into the image's kernel, past the firmware. --soft keeps the kernel that runs and changes the root\n" +
			"alone, which takes seconds (systemd 254 and later); it is refused where the image has another kernel, initramfs or\n" +
			"kernel command line.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := agent.LoadConfig(images.RunNode)
			if err != nil {
				return &hint{err, "run it on a machine that masthead booted"}
			}
			if dryRun {
				fmt.Fprintln(a.out, "would restart this machine")
				return nil
			}
			ctx := cmd.Context()
			switch {
			case soft:
				what, err := node.PrepareSoft(ctx, cfg, a.log)
				if err != nil {
					return &hint{err, "masthead reboot --kexec"}
				}
				fmt.Fprintln(a.out, saysSoft+" into", what)
				if err := node.Restart(ctx, node.Soft); err != nil {
					return errors.Join(err, node.DropSoft(ctx))
				}
				return nil
			case viaKexec:
				what, err := node.LoadKexec(ctx, cfg)
				if err != nil {
					return &hint{err, "masthead reboot"}
				}
				fmt.Fprintln(a.out, saysKexec+" into", what)
				return node.Restart(ctx, node.Kexec)
			}
			fmt.Fprintln(a.out, saysFirmware)
			return node.Restart(ctx, node.Firmware)
		},
	}
	cmd.Flags().BoolVar(&viaKexec, "kexec", false, "load kernel and initramfs of the node's image and go straight into them")
	cmd.Flags().BoolVar(&soft, "soft", false, "keep the kernel and change the root to the node's image alone")
	cmd.MarkFlagsMutuallyExclusive("kexec", "soft")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would happen, and restart nothing")
	return cmd
}
