package main

import (
	"fmt"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"masthead/node/wire"
)

func (a *app) serviceCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "service", Short: "Look at services and move them, as clusvcadm does"}
	cmd.AddCommand(a.serviceListCommand(), a.serviceShowCommand(),
		a.serviceChangeCommand("enable", "Start a service, and have it started wherever the owner is", "started"),
		a.serviceChangeCommand("disable", "Stop a service, until it is enabled", "stopped, until it is enabled"),
		a.serviceChangeCommand("stop", "Stop a service, until the next owner or until it is enabled", "stopped, until the next owner"),
		a.serviceRelocateCommand())
	return cmd
}

func (a *app) services(cmd *cobra.Command) ([]wire.ServiceState, error) {
	c, err := a.remote.client()
	if err != nil {
		return nil, err
	}
	s, err := c.Owner(cmd.Context())
	if err != nil {
		return nil, err
	}
	return s.Services, nil
}

func (a *app) serviceListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List the services of the cluster", Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := a.services(cmd)
			if err != nil {
				return err
			}
			if a.output == "json" {
				if all == nil {
					all = []wire.ServiceState{}
				}
				return a.printJSON(all)
			}
			if len(all) == 0 {
				fmt.Fprintln(a.out, "no services: masthead cluster edit")
				return nil
			}
			w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
			heading(w, "Service Name", "Owner (Last)", "State")
			printServices(w, all)
			return w.Flush()
		},
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) serviceShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show SERVICE", Short: "Show a service with its resources", Args: exactArgs(1),
		ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := a.services(cmd)
			if err != nil {
				return err
			}
			i := slices.IndexFunc(all, func(s wire.ServiceState) bool { return s.Name == args[0] })
			if i < 0 {
				return &hint{fmt.Errorf("there is no service %q", args[0]), "masthead service list"}
			}
			s := all[i]
			if a.output == "json" {
				return a.printJSON(s)
			}
			w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
			fmt.Fprintf(w, "service\t%s\nstate\t%s\nowner\t%s\nlast\t%s\nsince\t%s\nrestarts\t%d\n", s.Name, s.State, orDash(s.Owner), orDash(s.Last), ago(s.Since), s.Restarts)
			if s.Reason != "" {
				fmt.Fprintf(w, "reason\t%s\n", s.Reason)
			}
			heading(w, "Resource", "Kind", "State", "Since", "Reason")
			for _, r := range s.Resources {
				fmt.Fprintf(w, " %s\t%s\t%s\t%s\t%s\n", r.Name, r.Kind, r.State, ago(r.Since), r.Reason)
			}
			return w.Flush()
		},
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) serviceChangeCommand(action, short, done string) *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use: action + " SERVICE", Short: short, Args: exactArgs(1),
		ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			changed, err := c.ChangeService(cmd.Context(), args[0], wire.ServiceChange{Action: action, DryRun: dryRun})
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(changed)
			}
			how := "is to be "
			if dryRun {
				how = "would be "
			}
			fmt.Fprintf(a.out, "service %s %s%s (was: %s)\n", changed.Name, how, done, orDash(changed.Before))
			a.sayDegraded(changed.Degraded)
			return nil
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would happen, and change nothing")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) serviceRelocateCommand() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use: "relocate SERVICE [HEAD]", Short: "Move a service to another head, and with it all that the owner holds",
		Long: "Moves a service to another head. The virtual addresses, the data and all services belong to the one owner, so they\n" +
			"move together: this is `masthead head switch`. --dry-run lists what moves.",
		Args: rangeArgs(1, 2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return a.headNames(cmd), cobra.ShellCompDirectiveNoFileComp
			}
			return a.completeServices(cmd, args, word)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			change := wire.ServiceChange{Action: "relocate", DryRun: dryRun}
			if len(args) > 1 {
				change.To = args[1]
			}
			changed, err := c.ChangeService(cmd.Context(), args[0], change)
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(changed)
			}
			if changed.Switched != nil {
				return a.saySwitch(cmd.Context(), c, *changed.Switched, dryRun)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would move, and change nothing")
	a.outputFlag(cmd)
	return cmd
}

// completeServices completes the names of services.
func (a *app) completeServices(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, err := a.services(cmd)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, s := range all {
		names = append(names, s.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
