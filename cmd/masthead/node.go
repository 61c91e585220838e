package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"masthead/appliance/registry"
	"masthead/node/wire"
)

func (a *app) nodeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "node", Short: "List, add, approve and change the nodes of the cluster"}
	cmd.AddCommand(a.nodeListCommand(), a.nodeShowCommand(), a.nodeWhyCommand(), a.nodeAddCommand(), a.nodeSetCommand(),
		a.nodeApproveCommand(), a.nodeRemoveCommand(), a.nodeGroupCommand(), a.nodeRollCommand())
	cmd.AddCommand(a.nodeDoCommands()...)
	return cmd
}

const nodeSetHelp = `NODESET names nodes as ClusterShell and xCAT do: n01, n[01-20,33], @group, attr=value, ~regex, and -n07 to
leave one out; several are joined by commas.`

func (a *app) nodeListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list [NODESET]", Short: "List nodes and how they are", Long: "Lists nodes and how they are.\n\n" + nodeSetHelp,
		Args: rangeArgs(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			set := strings.Join(args, ",")
			if a.output == "json" {
				list, err := c.RawNodes(cmd.Context(), set)
				if err != nil {
					return err
				}
				return a.printJSON(list)
			}
			list, err := c.BriefNodes(cmd.Context(), set)
			if err != nil {
				return err
			}
			return a.printNodes(list)
		},
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) printNodes(list []wire.Node) error {
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tPHASE\tSTAGE\tADDRESS\tMAC\tIMAGE\tROOT\tBOOTED IN\tSEEN\tHEAD")
	for _, n := range list {
		address, booted, root := "-", "-", "-"
		if n.Address.IsValid() {
			address = n.Address.String()
		} else if n.Lease.IsValid() {
			address = n.Lease.String()
		}
		if n.BootedIn > 0 {
			booted = fmt.Sprintf("%.1f s", n.BootedIn)
		}
		if r := n.RootState; r != nil && r.Chunks > 0 {
			root = fmt.Sprintf("%d%%, %s", 100*r.Present/r.Chunks, bytesText(r.BytesFetched))
			if r.Waiting > 0 {
				root = fmt.Sprintf("waits for %.0f s", r.Waiting)
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", n.Name, n.Phase, orDash(string(n.Stage)), address, n.MAC,
			orDash(imageText(n)), root, booted, seenText(n), orDash(n.Head))
	}
	return w.Flush()
}

// imageText is what a node runs, or is to run.
func imageText(n wire.Node) string {
	text := n.Image
	if n.Running != "" {
		text = strings.TrimSpace(n.Image + " " + n.Running.Short())
	}
	if n.NeedsReboot {
		text += ", needs reboot"
	}
	return text
}

// seenText is when a node was last heard of. One that another head serves and calls up reports to that one, without a
// word in the state each time.
func seenText(n wire.Node) string {
	if n.Phase == wire.PhaseUp && time.Since(n.Seen) > registry.DownAfter {
		return "up to " + registry.DownAfter.String() + " ago"
	}
	return ago(n.Seen)
}

func ago(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return time.Since(t).Round(time.Second).String() + " ago"
}

func (a *app) nodeShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show NODE", Short: "Show all that is known of a node", Args: exactArgs(1), ValidArgsFunction: a.completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			n, err := c.Node(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.printJSON(n)
		},
	}
}

func (a *app) nodeWhyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "why NODE", Short: "Explain how a node's last boot went: each stage, its time, and what to do about a failure", Args: exactArgs(1), ValidArgsFunction: a.completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			why, err := c.Why(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(why)
			}
			a.printStages(why)
			for _, e := range why.Events {
				fmt.Fprintf(a.out, "  %s  %-7s %s\n", e.Time.Local().Format("15:04:05.000"), e.Kind, e.Text)
			}
			return nil
		},
	}
	a.outputFlag(cmd)
	return cmd
}

// printStages prints a boot: its stages, the verdict, and what to do.
func (a *app) printStages(why wire.Why) {
	fmt.Fprintf(a.out, "%s: %s\n", why.Node.Name, why.Verdict)
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	for _, s := range why.Stages {
		at := ""
		if s.At > 0 {
			at = fmt.Sprintf("at %6.2f s", s.At)
		}
		text := s.Detail
		if s.Outcome == wire.OutcomeFailed {
			text = "FAILED: " + s.Cause
		} else if s.Outcome == wire.OutcomeRunning {
			text = strings.TrimSpace("running " + text)
		}
		fmt.Fprintf(w, "  %s\t%6.2f s\t%s\t%s\n", s.Stage, s.Took, at, text)
		if s.Try != "" {
			fmt.Fprintf(w, "  \t\t\ttry: %s\n", s.Try)
		}
	}
	_ = w.Flush()
	if why.Try != "" {
		fmt.Fprintf(a.out, "  try: %s\n", why.Try)
	}
}

// changeFlags are the fields of a node that can be set.
type changeFlags struct {
	mac, address, image, root, cmdline string
	groups, heads                      []string
	attrs                              map[string]string
	dryRun                             bool
}

func (f *changeFlags) add(cmd *cobra.Command, mac bool) {
	if mac {
		cmd.Flags().StringVar(&f.mac, "mac", "", "MAC address of the NIC that boots")
	}
	cmd.Flags().StringVar(&f.address, "address", "", "reserved address; empty: one of the pool")
	cmd.Flags().StringVar(&f.image, "image", "", "image to run, a tag or (pinned) a digest; empty: the default")
	cmd.Flags().StringVar(&f.root, "root", "", "lazy or ram")
	cmd.Flags().StringVar(&f.cmdline, "cmdline", "", "added to the kernel command line")
	cmd.Flags().StringSliceVar(&f.groups, "group", nil, "groups of the node (all of them)")
	cmd.Flags().StringSliceVar(&f.heads, "heads", nil, "heads in the order that the node tries them; empty: as its groups say, else spread evenly")
	cmd.Flags().StringToStringVar(&f.attrs, "attr", nil, "attributes NAME=VALUE; an empty value removes one")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "show the difference, and change nothing")
}

// change is what the flags that were given ask for.
func (f *changeFlags) change(cmd *cobra.Command) wire.NodeChange {
	given := func(name string, value *string) *string {
		if cmd.Flags().Changed(name) {
			return value
		}
		return nil
	}
	ch := wire.NodeChange{
		MAC: given("mac", &f.mac), Address: given("address", &f.address), Image: given("image", &f.image),
		Root: given("root", &f.root), Cmdline: given("cmdline", &f.cmdline), Attrs: f.attrs, DryRun: f.dryRun,
	}
	if cmd.Flags().Changed("group") {
		ch.Groups = &f.groups
	}
	if cmd.Flags().Changed("heads") {
		ch.Heads = &f.heads
	}
	return ch
}

func (a *app) nodeAddCommand() *cobra.Command {
	var f changeFlags
	cmd := &cobra.Command{
		Use: "add NAME --mac MAC", Short: "Make a machine known before it boots, approved", Args: exactArgs(1),
		Example: "  masthead node add n01 --mac 52:54:00:77:00:0a --address 10.77.0.11",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			ch, yes := f.change(cmd), true
			ch.Name, ch.Approved = &args[0], &yes
			changed, err := c.AddNode(cmd.Context(), ch)
			if err != nil {
				return err
			}
			a.sayChanged(changed, "add")
			a.sayDegraded(changed.Degraded)
			return nil
		},
	}
	f.add(cmd, true)
	_ = cmd.MarkFlagRequired("mac")
	return cmd
}

func (a *app) nodeSetCommand() *cobra.Command {
	var f changeFlags
	var name string
	cmd := &cobra.Command{
		Use: "set NODESET", Short: "Change nodes", Long: "Changes nodes.\n\n" + nodeSetHelp, Args: exactArgs(1), ValidArgsFunction: a.completeNodes,
		Example: "  masthead node set n[01-20] --image worker --dry-run",
		RunE: func(cmd *cobra.Command, args []string) error {
			ch := f.change(cmd)
			if cmd.Flags().Changed("name") {
				ch.Name = &name
			}
			return a.changeNodes(cmd.Context(), args[0], ch)
		},
	}
	f.add(cmd, true)
	cmd.Flags().StringVar(&name, "name", "", "new name (of one node)")
	return cmd
}

func (a *app) nodeApproveCommand() *cobra.Command {
	var f changeFlags
	var name string
	cmd := &cobra.Command{
		Use: "approve NODESET", Short: "Let discovered machines boot", Long: "Lets discovered machines boot.\n\n" + nodeSetHelp, Args: exactArgs(1),
		Example: "  masthead node approve x-52540077000a --name n01",
		RunE: func(cmd *cobra.Command, args []string) error {
			ch, yes := f.change(cmd), true
			ch.Approved = &yes
			if cmd.Flags().Changed("name") {
				ch.Name = &name
			}
			return a.changeNodes(cmd.Context(), args[0], ch)
		},
	}
	f.add(cmd, false)
	cmd.Flags().StringVar(&name, "name", "", "name to give (to one node)")
	return cmd
}

// changeNodes makes one change to every node of a set, or to none.
func (a *app) changeNodes(ctx context.Context, set string, ch wire.NodeChange) error {
	c, err := a.remote.client()
	if err != nil {
		return err
	}
	all, err := c.ChangeNodes(ctx, set, ch)
	if err != nil {
		return err
	}
	a.sayNote(all)
	why := ""
	for _, changed := range all {
		a.sayChanged(changed, "change")
		why = cmp.Or(why, changed.Degraded)
	}
	a.sayDegraded(why)
	return nil
}

// sayNote tells what is to be said of the set that was changed: it is the same at all its nodes.
func (a *app) sayNote(all []wire.Changed) {
	if len(all) > 0 && all[0].Note != "" {
		fmt.Fprintln(a.err, all[0].Note)
	}
}

// sayChanged shows what a change does or did.
func (a *app) sayChanged(c wire.Changed, verb string) {
	a.sayDiff(c.Node.Name, verb, c.Diff, c.Applied)
	if text := laterAddress(c); text != "" {
		fmt.Fprintln(a.out, "  "+text)
	}
}

// laterAddress says when a reservation takes effect on a node that is up with another address; empty: there is nothing
// to say.
func laterAddress(c wire.Changed) string {
	n := c.Node
	if n.Phase != wire.PhaseUp || !n.Lease.IsValid() || !n.Address.IsValid() || n.Lease == n.Address ||
		!slices.ContainsFunc(c.Diff, func(d wire.Difference) bool { return d.Field == "address" }) {
		return ""
	}
	return fmt.Sprintf("it has %s now, and %s from its next boot or renewal on", n.Lease, n.Address)
}

// sayDiff shows what differs; verb is add, change or remove.
func (a *app) sayDiff(name, verb string, diff []wire.Difference, applied bool) {
	if len(diff) == 0 {
		fmt.Fprintf(a.out, "%s: nothing to change\n", name)
		return
	}
	how := "would " + verb
	if applied {
		how = strings.TrimSuffix(verb, "e") + "ed"
	}
	fmt.Fprintf(a.out, "%s: %s\n", name, how)
	for _, d := range diff {
		fmt.Fprintf(a.out, "  %s: %s -> %s\n", d.Field, orDash(d.Old), orDash(d.New))
	}
}

func (a *app) nodeRemoveCommand() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use: "rm NODESET", Short: "Forget nodes", Long: "Forgets nodes. One that boots again is discovered anew.\n\n" + nodeSetHelp, Args: exactArgs(1), ValidArgsFunction: a.completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			all, err := c.RemoveNodes(cmd.Context(), args[0], dryRun)
			if err != nil {
				return err
			}
			a.sayNote(all)
			why := ""
			for _, removed := range all {
				a.sayChanged(removed, "remove")
				why = cmp.Or(why, removed.Degraded)
			}
			a.sayDegraded(why)
			return nil
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be removed, and remove nothing")
	return cmd
}
