package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"masthead/node/wire"
)

func (a *app) fenceCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "fence", Short: "Look at what can switch heads off, and vouch for a head that is off"}
	cmd.AddCommand(a.fenceListCommand(), a.fenceTestCommand(), a.fenceAgentsCommand(), a.fenceShowCommand(), a.fenceConfirmDeadCommand())
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
			return a.listFences(s.Fences)
		},
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) listFences(all []wire.FenceState) error {
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
	printFences(w, all, time.Now())
	return w.Flush()
}

func (a *app) fenceTestCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "test HEAD", Short: "Ask the fence devices of a head whether it is on; switches nothing off", Args: exactArgs(1),
		Long: "Asks the fence devices of a head for its power status, from the head that the command talks to. Nothing is switched off.\n" +
			"Slow devices are waited for. The exit code is 1 if one of them cannot be relied on.",
		ValidArgsFunction: a.completeHeads,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			all, err := a.testFences(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			if err := a.listFences(all); err != nil {
				return err
			}
			for _, f := range all {
				if f.Asking {
					return &hint{fmt.Errorf("device %s of %s has not answered", f.Device, args[0]), "masthead fence test " + args[0]}
				}
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

// fencePatience is how long a test is waited for: several devices of one controller are asked one after the other, each for
// up to its timeout of 30 s.
const fencePatience = 3 * time.Minute

// testFences tests the devices of a head. The head answers after some seconds also where devices take longer; asked again,
// it waits for the same test.
func (a *app) testFences(ctx context.Context, c *wire.Client, head string) ([]wire.FenceState, error) {
	until := time.Now().Add(fencePatience)
	told := false
	for {
		all, err := c.FenceTest(ctx, head)
		if err != nil {
			return nil, err
		}
		var slow []string
		for _, f := range all {
			if f.Asking {
				slow = append(slow, f.Device)
			}
		}
		if len(slow) == 0 || time.Now().After(until) {
			return all, nil
		}
		if !told {
			fmt.Fprintf(a.err, "still waits for %s\n", strings.Join(slices.Compact(slow), ", "))
			told = true
		}
	}
}

func (a *app) fenceConfirmDeadCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "confirm-dead HEAD", Short: "Your word that a head is off, where no device can say so", Args: exactArgs(1),
		Long: "Gives the head that is asked your word that another one is off, and it takes over. Look at the machine, or pull its\n" +
			"plug, before you say so: if it runs, there are two owners, and data is lost. Where the heads cannot fence one\n" +
			"another, what it wrote to replicated data after it was heard last is given up with your word.",
		ValidArgsFunction: a.completeHeads,
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

// completeHeads completes the names of heads.
func (a *app) completeHeads(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.headNames(cmd), cobra.ShellCompDirectiveNoFileComp
}

// headNames are the heads of the cluster, for completion: what cannot be found out is not completed.
func (a *app) headNames(cmd *cobra.Command) []string {
	c, err := a.remote.client()
	if err != nil {
		return nil
	}
	heads, err := c.Heads(cmd.Context())
	if err != nil {
		return nil
	}
	var names []string
	for _, h := range heads {
		names = append(names, h.Name)
	}
	return names
}
