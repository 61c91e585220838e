package main

import (
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"masthead/node/wire"
)

func (a *app) fenceCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "fence", Short: "Look at what can switch heads off, and vouch for a head that is off"}
	cmd.AddCommand(a.fenceListCommand(), a.fenceTestCommand(), a.fenceConfirmDeadCommand())
	return cmd
}

func (a *app) fenceListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List the fence devices of all heads, as they last answered", Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			s, err := c.Owner(cmd.Context())
			if err != nil {
				return err
			}
			return a.printFences(s.Fences)
		},
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) fenceTestCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "test HEAD", Short: "Ask the fence devices of a head whether it is on; switches nothing off", Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			all, err := c.FenceTest(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := a.printFences(all); err != nil {
				return err
			}
			for _, f := range all {
				if f.Trouble != "" {
					return &hint{fmt.Errorf("device %s of %s cannot be relied on: %s", f.Device, args[0], f.Trouble), "masthead cluster edit"}
				}
			}
			return nil
		},
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) printFences(all []wire.FenceState) error {
	if a.output == "json" {
		if all == nil {
			all = []wire.FenceState{}
		}
		return a.printJSON(all)
	}
	if len(all) == 0 {
		fmt.Fprintln(a.out, "no fence devices: masthead cluster edit")
		return nil
	}
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "HEAD\tLEVEL\tDEVICE\tAGENT\tPOWER\tASKED\tNOTE")
	for _, f := range all {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t%s\n", f.Head, f.Level, f.Device, f.Agent, orDash(f.Power), ago(f.Checked), f.Trouble)
	}
	return w.Flush()
}

func (a *app) fenceConfirmDeadCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "confirm-dead HEAD", Short: "Your word that a head is off, where no device can say so", Args: exactArgs(1),
		Long: "Gives the head that is asked your word that another one is off, and it takes over. Look at the machine, or pull its\n" +
			"plug, before you say so: if it runs, there are two owners, and data is lost.",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			ask := fmt.Sprintf("Is %[1]s really off? Type its name, %[1]s, to vouch for that: ", args[0])
			if err := a.confirmName(ask, args[0], yes, "masthead fence confirm-dead "+args[0]+" --yes"); err != nil {
				return err
			}
			s, err := c.ConfirmDead(cmd.Context(), wire.ConfirmDead{Head: args[0]})
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(s)
			}
			if s.Owner == "" {
				return &hint{errors.New("nobody owns the cluster yet: " + s.Why.Summary), "masthead status --why"}
			}
			fmt.Fprintf(a.out, "%s owns the cluster, epoch %s\n", s.Owner, s.Epoch)
			return nil
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it without asking")
	a.outputFlag(cmd)
	return cmd
}
