package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"masthead/node/wire"
)

func (a *app) snapshotCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "snapshot", Short: "Keep states of the replicated data, look at what has changed, and go back",
		Long: "States of the replicated volumes that take only the room of what has changed since. They are made where the volume is in\n" +
			"use. With btrfs each copy of the volume has them; with `snapshots_by: lvm` they are the owner's own, and the file\n" +
			"system may be ext4 too. `snapshots:` of a volume in the configuration makes them on a schedule.",
	}
	cmd.AddCommand(a.snapshotListCommand(), a.snapshotCreateCommand(), a.snapshotDiffCommand(), a.snapshotRemoveCommand(), a.snapshotRollbackCommand())
	return cmd
}

// snapshotFlags are what all of them have.
type snapshotFlags struct {
	volume string
	dry    bool
}

func (f *snapshotFlags) add(cmd *cobra.Command, change bool) *cobra.Command {
	cmd.Flags().StringVar(&f.volume, "volume", "", "the volume (default: the only one)")
	if change {
		cmd.Flags().BoolVar(&f.dry, "dry-run", false, "say what would be done, and do nothing")
	}
	return cmd
}

// confirmed is the rollback that was typed, with what a person would type.
func (f *snapshotFlags) confirmed(name string) string {
	words := []string{"masthead snapshot rollback", name}
	if f.volume != "" {
		words = append(words, "--volume", f.volume)
	}
	return strings.Join(append(words, "--confirm", name), " ")
}

// client is that of the head, and the volume that is meant.
func (f *snapshotFlags) client(ctx context.Context, a *app) (*wire.Client, string, error) {
	c, err := a.remote.client()
	if err != nil {
		return nil, "", err
	}
	var args []string
	if f.volume != "" {
		args = []string{f.volume}
	}
	volume, err := volumeOf(ctx, c, args, "--volume %s")
	return c, volume, err
}

func (a *app) snapshotListCommand() *cobra.Command {
	var f snapshotFlags
	cmd := f.add(&cobra.Command{
		Use: "list", Short: "List the snapshots of a volume", Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, volume, err := f.client(cmd.Context(), a)
			if err != nil {
				return err
			}
			all, err := c.Snapshots(cmd.Context(), volume)
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(all)
			}
			if len(all) == 0 {
				fmt.Fprintf(a.out, "no snapshots of %s\n", volume)
				return nil
			}
			w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
			heading(w, "Name", "Why", "Age", "Used")
			for _, s := range all {
				used := "-" // not known
				if s.Used > 0 {
					used = bytesText(s.Used)
				}
				fmt.Fprintf(w, " %s\t%s\t%s\t%s\n", s.Name, s.Kind, time.Since(s.Time).Round(time.Second), used)
			}
			return w.Flush()
		},
	}, false)
	a.outputFlag(cmd)
	return cmd
}

// changeSnapshot does it, and says so; for programs the whole is printed by the caller, once all is done.
func (a *app) changeSnapshot(ctx context.Context, f snapshotFlags, change wire.SnapshotChange) (*wire.Client, wire.SnapshotChanged, error) {
	c, volume, err := f.client(ctx, a)
	if err != nil {
		return nil, wire.SnapshotChanged{}, err
	}
	change.DryRun = change.DryRun || f.dry
	out, err := c.ChangeSnapshots(ctx, volume, change)
	if err != nil {
		return nil, out, err
	}
	if a.output == "json" {
		return c, out, nil
	}
	for _, line := range out.Does {
		if change.DryRun {
			line += " (not done)"
		}
		fmt.Fprintln(a.out, line)
	}
	return c, out, nil
}

func (a *app) snapshotCreateCommand() *cobra.Command {
	var f snapshotFlags
	var name string
	cmd := f.add(&cobra.Command{
		Use: "create", Short: "Keep the present state of a volume", Args: exactArgs(0), Example: "  masthead snapshot create --name before-update",
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, out, err := a.changeSnapshot(cmd.Context(), f, wire.SnapshotChange{Action: "create", Name: name})
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(out)
			}
			if out.Applied {
				fmt.Fprintln(a.out, out.Name)
			}
			return nil
		},
	}, true)
	a.outputFlag(cmd)
	cmd.Flags().StringVar(&name, "name", "", "a word for it, behind its time (default: manual)")
	return cmd
}

func (a *app) snapshotRemoveCommand() *cobra.Command {
	var f snapshotFlags
	cmd := f.add(&cobra.Command{
		Use: "rm NAME", Short: "Remove a snapshot", Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, out, err := a.changeSnapshot(cmd.Context(), f, wire.SnapshotChange{Action: "rm", Name: args[0]})
			if err == nil && a.output == "json" {
				err = a.printJSON(out)
			}
			return err
		},
	}, true)
	a.outputFlag(cmd)
	return cmd
}

func (a *app) snapshotDiffCommand() *cobra.Command {
	var f snapshotFlags
	cmd := f.add(&cobra.Command{
		Use: "diff NAME", Short: "List the files that have changed since a snapshot", Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, volume, err := f.client(cmd.Context(), a)
			if err != nil {
				return err
			}
			all, err := c.SnapshotDiff(cmd.Context(), volume, args[0])
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(all)
			}
			for _, d := range all.Files {
				fmt.Fprintf(a.out, "%-8s %s\n", d.What, d.Path)
			}
			switch {
			case all.More:
				fmt.Fprintln(a.out, "and more")
			case len(all.Files) == 0:
				fmt.Fprintln(a.out, "nothing has changed")
			}
			return nil
		},
	}, false)
	a.outputFlag(cmd)
	return cmd
}

func (a *app) snapshotRollbackCommand() *cobra.Command {
	var f snapshotFlags
	var word string
	cmd := f.add(&cobra.Command{
		Use: "rollback NAME", Short: "Have a volume go back to a snapshot; its services are restarted", Args: exactArgs(1),
		Long: "Stops the service of the volume and all that need it, goes back to the snapshot, and starts them again. What there is\n" +
			"now becomes a snapshot itself, of kind rollback: going back to that one undoes it. With `snapshots_by: lvm` the other\n" +
			"copy is made anew from the owner's afterwards, all of it: until then there is one copy.",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, change := cmd.Context(), wire.SnapshotChange{Action: "rollback", Name: args[0], DryRun: true}
			c, plan, err := a.changeSnapshot(ctx, f, change)
			if err == nil && f.dry && a.output == "json" {
				return a.printJSON(plan)
			}
			if err != nil || f.dry {
				return err
			}
			if word == "" && terminalIn(a.in) {
				fmt.Fprintf(a.err, "The service %s and all that need it are stopped meanwhile. Type %q to go on: ", plan.Restart, args[0])
				word, _ = bufio.NewReader(a.in).ReadString('\n')
			}
			if strings.TrimSpace(word) != args[0] {
				return &hint{errors.New("not confirmed, and nothing was done"), f.confirmed(args[0])}
			}
			change.DryRun = false
			if _, plan, err = a.changeSnapshot(ctx, f, change); err != nil {
				return err
			}
			if err := a.restartService(ctx, c, plan.Restart); err != nil || a.output != "json" {
				return err
			}
			return a.printJSON(plan)
		},
	}, true)
	a.outputFlag(cmd)
	cmd.Flags().StringVar(&word, "confirm", "", "the snapshot's name again, for scripts: what a person would type")
	return cmd
}

// serviceLook is the time between two looks at a service that stops or starts.
const serviceLook = 500 * time.Millisecond

// restartService stops a service, waits until it is stopped, and starts it again.
func (a *app) restartService(ctx context.Context, c *wire.Client, name string) error {
	for _, turn := range []struct {
		action string
		there  func(state string) bool
		failed string
	}{
		{"stop", func(s string) bool { return s == "stopped" || s == "disabled" }, "stop failed"},
		{"enable", func(s string) bool { return s == "started" }, "failed"},
	} {
		if _, err := c.ChangeService(ctx, name, wire.ServiceChange{Action: turn.action}); err != nil {
			return err
		}
		for {
			s, err := c.Owner(ctx)
			if err != nil {
				return err
			}
			state := ""
			for _, one := range s.Services {
				if one.Name == name {
					state = one.State
				}
			}
			if turn.there(state) {
				a.sayTurn(name, state)
				break
			}
			if state == turn.failed {
				return &hint{fmt.Errorf("service %s: %s", name, state), "masthead service show " + name}
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(serviceLook):
			}
		}
	}
	return nil
}

// sayTurn says how far a service is. What programs read is printed once all is done.
func (a *app) sayTurn(service, state string) {
	out := a.out
	if a.output == "json" {
		out = a.err
	}
	fmt.Fprintf(out, "service %s: %s\n", service, state)
}
