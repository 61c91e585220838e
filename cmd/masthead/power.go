package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"masthead/images"
	"masthead/node"
	"masthead/node/agent"
)

// powerCommand restarts the machine that it runs on.
func (a *app) powerCommand() *cobra.Command {
	var viaKexec, dryRun bool
	cmd := &cobra.Command{
		Use: "reboot", Short: "Restart this machine in order; with --kexec straight into the kernel, past the firmware", Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := agent.LoadConfig(images.RunNode)
			if err != nil {
				return &hint{err, "run it on a machine that masthead booted"}
			}
			if dryRun {
				fmt.Fprintln(a.out, "would restart this machine")
				return nil
			}
			if viaKexec {
				what, err := node.LoadKexec(cmd.Context(), cfg)
				if err != nil {
					return &hint{err, "masthead reboot"}
				}
				fmt.Fprintln(a.out, "restarting into", what)
			}
			return node.Restart(cmd.Context(), viaKexec)
		},
	}
	cmd.Flags().BoolVar(&viaKexec, "kexec", false, "load kernel and initramfs of the node's image and go straight into them")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would happen, and restart nothing")
	return cmd
}
