package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"masthead/node/wire"
)

func (a *app) nodeGroupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "group", Short: "List groups of nodes, and decide what holds for all nodes of one",
		Long: "Lists groups of nodes, and decides what holds for all nodes of one, now and later. A node is put into groups with\n" +
			"masthead node set NODESET --group NAME. Its own word goes before that of its groups, of which the first by name\n" +
			"counts that has one.",
		Args: noSuchCommand, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.groupListCommand(), a.groupSetCommand(), a.groupRemoveCommand())
	return cmd
}

func (a *app) groupListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List groups", Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			list, err := c.Groups(cmd.Context())
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(list)
			}
			w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "GROUP\tNODES\tHEADS\tIMAGE\tSET")
			for _, g := range list {
				fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", g.Name, g.Nodes, orDash(strings.Join(g.Heads, ",")), orDash(g.Image), orDash(g.Set))
			}
			return w.Flush()
		},
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) groupSetCommand() *cobra.Command {
	var heads []string
	var image string
	var dryRun bool
	cmd := &cobra.Command{
		Use: "set NAME", Short: "Decide something for all nodes of a group", Args: exactArgs(1),
		Example: "  masthead node group set rack1 --heads head2,head1 --dry-run",
		RunE: func(cmd *cobra.Command, args []string) error {
			change := wire.GroupChange{DryRun: dryRun}
			if cmd.Flags().Changed("heads") {
				change.Heads = &heads
			}
			if cmd.Flags().Changed("image") {
				change.Image = &image
			}
			if change.Heads == nil && change.Image == nil {
				return usageError{&hint{fmt.Errorf("%s: nothing to set", args[0]), cmd.CommandPath() + " --help"}}
			}
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			changed, err := c.ChangeGroup(cmd.Context(), args[0], change)
			return a.sayGroup(changed, "change", err)
		},
	}
	cmd.Flags().StringSliceVar(&heads, "heads", nil, "heads in the order that nodes try them; empty: spread evenly")
	cmd.Flags().StringVar(&image, "image", "", "image of nodes that name none; empty: the default")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show the difference, and change nothing")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) groupRemoveCommand() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use: "rm NAME", Short: "Take away what was decided for a group; its nodes stay in it", Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			changed, err := c.RemoveGroup(cmd.Context(), args[0], dryRun)
			return a.sayGroup(changed, "remove", err)
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show the difference, and change nothing")
	a.outputFlag(cmd)
	return cmd
}

// sayGroup shows what a change does or did.
func (a *app) sayGroup(c wire.GroupChanged, verb string, err error) error {
	if err != nil {
		return err
	}
	if a.output == "json" {
		return a.printJSON(c)
	}
	a.sayDiff("group "+c.Group.Name, verb, c.Diff, c.Applied)
	a.sayDegraded(c.Degraded)
	return nil
}
