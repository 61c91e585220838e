package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"masthead/node/wire"
)

func (a *app) headSettingsCommand() *cobra.Command {
	var auto bool
	var pattern, image, forwarders string
	var dryRun bool
	cmd := &cobra.Command{
		Use: "settings", Short: "Show or change what holds for all nodes", Args: exactArgs(0),
		Long: "Shows what holds for all nodes, after changing what the flags name.\n\n" +
			"With auto-approve every machine that boots from the network becomes a node by itself, under the next free name\n" +
			"of the pattern: only for a network where nobody else can plug in.",
		Example: "  masthead head settings\n" +
			"  masthead head settings --default-image worker --dry-run\n" +
			"  masthead head settings --auto-approve=true --name-pattern 'n%03d'\n" +
			"  masthead head settings --forwarders 192.0.2.53,192.0.2.54",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			change := wire.SettingsChange{DryRun: dryRun}
			if cmd.Flags().Changed("auto-approve") {
				change.AutoApprove = &auto
			}
			if cmd.Flags().Changed("name-pattern") {
				change.NamePattern = &pattern
			}
			if cmd.Flags().Changed("default-image") {
				change.DefaultImage = &image
			}
			if cmd.Flags().Changed("forwarders") {
				change.Forwarders = &forwarders
			}
			if change == (wire.SettingsChange{DryRun: dryRun}) {
				s, err := c.Settings(cmd.Context())
				if err != nil {
					return err
				}
				if a.output == "json" {
					return a.printJSON(s)
				}
				return a.printSettings(s)
			}
			changed, err := c.ChangeSettings(cmd.Context(), change)
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(changed)
			}
			a.saySettings(changed)
			return nil
		},
	}
	cmd.Flags().BoolVar(&auto, "auto-approve", false, "unknown machines become nodes without being approved")
	cmd.Flags().StringVar(&pattern, "name-pattern", "", "names of machines that are approved so: one %d in it, with a width if wanted")
	cmd.Flags().StringVar(&image, "default-image", "", "image of nodes that name none; empty: the only worker image that is there")
	cmd.Flags().StringVar(&forwarders, "forwarders", "", "resolvers that the heads ask for other names, ADDRESS,ADDRESS; empty: those of each head")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show the difference, and change nothing")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) printSettings(s wire.Settings) error {
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	image := s.DefaultImage
	if image == "" {
		image = "- (the only worker image, if there is one)"
	}
	forwarders := s.Forwarders
	if forwarders == "" {
		forwarders = "- (those of each head's machine)"
	}
	fmt.Fprintf(w, "auto-approve\t%t\nname-pattern\t%s\ndefault-image\t%s\nforwarders\t%s\n", s.AutoApprove, s.NamePattern, image, forwarders)
	return w.Flush()
}

// saySettings shows what a change does or did.
func (a *app) saySettings(c wire.SettingsChanged) {
	a.sayDiff("settings", "change", c.Diff, c.Applied)
	a.sayDegraded(c.Degraded)
}
