package main

import (
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"masthead/node/wire"
)

func (a *app) headListCommand() *cobra.Command {
	var long bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the heads of the cluster", Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			heads, err := c.Heads(cmd.Context())
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(heads)
			}
			return a.printHeads(heads, long)
		},
	}
	cmd.Flags().BoolVarP(&long, "long", "l", false, "show version, key, clock and state of each")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) printHeads(heads []wire.HeadStatus, long bool) error {
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	title := "NAME\tADDRESS\tALIVE\tSTATE\tNODES"
	if long {
		title += "\tVERSION\tJOINED\tSEEN\tCLOCK\tROOT\tKEY"
	}
	fmt.Fprintln(w, title+"\tNOTE")
	for _, h := range heads {
		name, alive, equal := h.Name, "no", "?"
		if h.Self {
			name += " *"
		}
		if h.Alive {
			alive, equal = "yes", "differs"
		}
		if h.Equal && h.Alive {
			equal = "same"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d", name, h.Address, alive, equal, h.Nodes)
		if long {
			seen := "-"
			if !h.Seen.IsZero() {
				seen = time.Since(h.Seen).Round(time.Second).String()
			}
			root := h.Root
			fmt.Fprintf(w, "\t%s\t%s\t%s\t%+.3f s\t%s\t%s", h.Version, h.Joined.Local().Format("2006-01-02"), seen, h.Skew, orDash(root[:min(len(root), 12)]), h.Key.Short())
		}
		fmt.Fprintf(w, "\t%s\n", h.Reason)
	}
	return w.Flush()
}

func (a *app) headLeaveCommand() *cobra.Command {
	var change wire.HeadChange
	cmd := &cobra.Command{
		Use: "leave", Short: "Take this head out of its cluster, after it has handed over", Args: exactArgs(0),
		Long: "Takes this head out of its cluster. It hands over what it allocates and all that it knows to another head that\n" +
			"answers, and then is a head of its own again, with nothing in it. What it had is kept beside, in its state folder.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			own, err := c.Membership(cmd.Context())
			if err != nil {
				return err
			}
			changed, err := c.LeaveHead(cmd.Context(), change)
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(changed)
			}
			a.saySteps(changed)
			if change.DryRun {
				return nil
			}
			if _, err := a.followMembership(cmd.Context(), c, own.Name, wire.MemberSolo); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "head %s has left the cluster\n", own.Name)
			return nil
		},
	}
	cmd.Flags().BoolVar(&change.DryRun, "dry-run", false, "say what would happen, and change nothing")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) headEjectCommand() *cobra.Command {
	var change wire.HeadChange
	cmd := &cobra.Command{
		Use: "eject HOST", Short: "Take a dead head out of the cluster", Args: exactArgs(1),
		Long: "Takes a head that is dead out of the cluster: its certificate counts no more, the key of the heads' membership\n" +
			"protocol changes, and this head takes over what it allocated. When it comes back it says that it was ejected,\n" +
			"serves nothing, and can join again with a token.",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			changed, err := c.EjectHead(cmd.Context(), args[0], change)
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(changed)
			}
			a.saySteps(changed)
			return nil
		},
	}
	cmd.Flags().BoolVar(&change.Force, "force", false, "also a head that answers: what only it knows is lost")
	cmd.Flags().BoolVar(&change.DryRun, "dry-run", false, "say what would happen, and change nothing")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) headRecoverCommand() *cobra.Command {
	var change wire.HeadChange
	var yes bool
	cmd := &cobra.Command{
		Use: "recover", Short: "Make this head the only one, when all others are gone for good", Args: exactArgs(0),
		Long: "Makes this head the only one of its cluster, when all others are gone for good. A new generation of the cluster\n" +
			"begins: what the others knew and this one did not is lost, and they can come back only empty, with a token.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			own, err := c.Membership(cmd.Context())
			if err != nil {
				return err
			}
			if yes {
				change.Confirm = own.Name
			} else if !change.DryRun {
				dry := change
				dry.DryRun = true
				would, err := c.RecoverHead(cmd.Context(), dry)
				if err != nil {
					return err
				}
				a.saySteps(would)
				if !terminalIn(a.in) {
					return &hint{errors.New("nobody is there to confirm it"), "masthead head recover --yes"}
				}
				if change.Confirm, err = a.askLine(fmt.Sprintf("Type the name of this head, %s, to go on: ", own.Name)); err != nil {
					return err
				}
			}
			changed, err := c.RecoverHead(cmd.Context(), change)
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(changed)
			}
			if yes || change.DryRun {
				a.saySteps(changed)
			} else {
				fmt.Fprintln(a.out, "done")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it without asking")
	cmd.Flags().BoolVar(&change.Force, "force", false, "also while another head answers")
	cmd.Flags().BoolVar(&change.DryRun, "dry-run", false, "say what would happen, and change nothing")
	a.outputFlag(cmd)
	return cmd
}

// saySteps shows what a change of the heads does or did.
func (a *app) saySteps(c wire.HeadChanged) {
	how := "would change"
	if c.Applied {
		how = "changes"
	}
	fmt.Fprintf(a.out, "heads: %s\n", how)
	for _, step := range c.Steps {
		fmt.Fprintf(a.out, "  %s\n", step)
	}
	if c.Degraded != "" {
		fmt.Fprintf(a.out, "degraded: %s\n", c.Degraded)
	}
}
