package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
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
			if len(heads) == 0 {
				own, err := c.Membership(cmd.Context())
				if err != nil {
					return err
				}
				a.sayWaits(own)
				return nil
			}
			if err := a.printHeads(heads, long); err != nil || !long {
				return err
			}
			return a.printSoftware(heads)
		},
	}
	cmd.Flags().BoolVarP(&long, "long", "l", false, "show version, key, clock and state of each")
	a.outputFlag(cmd)
	return cmd
}

// sayWaits tells why a head knows of none, not even of itself.
func (a *app) sayWaits(m wire.Membership) {
	if m.State != wire.MemberJoining {
		fmt.Fprintln(a.out, "no heads yet")
		return
	}
	fmt.Fprintf(a.out, "head %s waits to join a cluster, and serves nobody", m.Name)
	if m.Reason != "" {
		fmt.Fprintf(a.out, ": %s", m.Reason)
	}
	fmt.Fprintf(a.out, "\ntry: %s\n", cmp.Or(m.Try, "masthead head join ADDRESS --token-file FILE"))
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
	var yes bool
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
			err = a.changeHeads(headQuestion{
				ask: fmt.Sprintf("Type the name of the head that leaves, %s, to go on: ", own.Name), name: own.Name, yes: yes, try: "masthead head leave --yes", done: own.Name + " leaves",
			}, change, func(h wire.HeadChange) (wire.HeadChanged, error) { return c.LeaveHead(cmd.Context(), h) })
			if err != nil || change.DryRun || a.output == "json" {
				return err
			}
			if _, err := a.followMembership(cmd.Context(), c, own.Name, wire.MemberSolo); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "head %s has left the cluster\n", own.Name)
			return nil
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it without asking")
	cmd.Flags().BoolVar(&change.DryRun, "dry-run", false, "say what would happen, and change nothing")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) headEjectCommand() *cobra.Command {
	var change wire.HeadChange
	var yes bool
	cmd := &cobra.Command{
		Use: "eject HOST", Short: "Take a dead head out of the cluster", Args: exactArgs(1),
		Long: "Takes a head that is dead out of the cluster: its certificate counts no more, the key of the heads' membership\n" +
			"protocol changes, and this head takes over what it allocated. When it comes back it says that it was ejected,\n" +
			"serves nothing, and can join again with a token.\n\n" +
			"Do not eject a head that runs behind a network that is cut: it would go on there, as a cluster with the same keys\n" +
			"that gives the same addresses. So it asks for the name of the head once more.\n\n" +
			"With --stolen the keys of boot tokens and the administrator's token change too, on all heads, also if the head was\n" +
			"ejected before. The CA's key stays: whoever has it can pretend to be a head on the cluster's network. Who cannot\n" +
			"live with that sets up a head with a CA of its own, and has the other heads leave and join that one.",
		Example: "  masthead head eject head2 --dry-run\n  masthead head eject head2 --stolen",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			try := "masthead head eject " + args[0]
			if change.Stolen {
				try += " --stolen"
			}
			if change.Force {
				try += " --force"
			}
			return a.changeHeads(headQuestion{
				ask: fmt.Sprintf("Type the name of the head that goes, %s, to go on: ", args[0]), name: args[0], yes: yes, try: try + " --yes",
			}, change, func(h wire.HeadChange) (wire.HeadChanged, error) { return c.EjectHead(cmd.Context(), args[0], h) })
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it without asking")
	cmd.Flags().BoolVar(&change.Stolen, "stolen", false, "somebody may have its disk: change the keys that it holds")
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
			return a.changeHeads(headQuestion{
				ask: fmt.Sprintf("Type the name of this head, %s, to go on: ", own.Name), name: own.Name, yes: yes, try: "masthead head recover --yes",
			}, change, func(h wire.HeadChange) (wire.HeadChanged, error) { return c.RecoverHead(cmd.Context(), h) })
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it without asking")
	cmd.Flags().BoolVar(&change.Force, "force", false, "also while another head answers")
	cmd.Flags().BoolVar(&change.DryRun, "dry-run", false, "say what would happen, and change nothing")
	a.outputFlag(cmd)
	return cmd
}

// headQuestion asks a person for a name before heads are given up.
type headQuestion struct {
	ask, name string
	yes       bool   // it was answered on the command line
	try       string // what to type where nobody can be asked
	done      string // what to say after a yes; empty: done
}

// changeHeads makes a change of the heads that cannot be taken back, after a person has seen what it does.
func (a *app) changeHeads(q headQuestion, change wire.HeadChange, do func(wire.HeadChange) (wire.HeadChanged, error)) error {
	asked := !q.yes && !change.DryRun
	if !asked {
		change.Confirm = q.name
	} else {
		dry := change
		dry.DryRun = true
		would, err := do(dry)
		if err != nil {
			return err
		}
		saySteps(a.err, would)
		if !terminalIn(a.in) {
			return &hint{errors.New("nobody is there to confirm it"), q.try}
		}
		if change.Confirm, err = a.askLine(q.ask); err != nil {
			return err
		}
		if change.Confirm != q.name {
			return &hint{fmt.Errorf("%q is not %s: nothing was changed", change.Confirm, q.name), q.try}
		}
	}
	changed, err := do(change)
	if err != nil {
		return err
	}
	switch {
	case a.output == "json":
		return a.printJSON(changed)
	case asked:
		fmt.Fprintln(a.out, cmp.Or(q.done, "done"))
		a.sayDegraded(changed.Degraded)
	default:
		a.saySteps(changed)
	}
	return nil
}

// saySteps shows what a change of the heads does or did.
func (a *app) saySteps(c wire.HeadChanged) {
	saySteps(a.out, c)
	a.sayDegraded(c.Degraded)
}

func saySteps(w io.Writer, c wire.HeadChanged) {
	how := "would change"
	if c.Applied {
		how = "changes"
	}
	fmt.Fprintf(w, "heads: %s\n", how)
	for _, step := range c.Steps {
		fmt.Fprintf(w, "  %s\n", step)
	}
}
