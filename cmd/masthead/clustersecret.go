package main

import (
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"masthead/node/wire"
)

func (a *app) clusterSecretCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "secret NAME --file FILE", Short: "Keep a secret that the configuration names as secret:NAME", Args: exactArgs(1),
		Long: "Keeps a secret, such as a fence device's password, under a name. Where the configuration says secret:NAME its value is\n" +
			"used; it is never shown again. It is read from a file, or from the standard input with -, and never from the\n" +
			"command line, which every user of the machine can see.",
		Example:           "  masthead cluster secret ilo --file password.txt\n  masthead cluster secret list\n  masthead cluster secret rm ilo --dry-run",
		ValidArgsFunction: a.completeSecrets(func(wire.ClusterSecretState) bool { return true }),
		RunE: func(cmd *cobra.Command, args []string) error {
			if file == "-" && terminalIn(a.in) {
				return &hint{errors.New("a secret that is typed here would be seen"), "masthead cluster secret " + args[0] + " --file FILE"}
			}
			value, err := a.readFile(file)
			if err != nil {
				return err
			}
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			kept, err := c.SetClusterSecret(cmd.Context(), args[0], string(value))
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(kept)
			}
			fmt.Fprintf(a.out, "secret %s is kept\n", args[0])
			if !kept.Named {
				fmt.Fprintf(a.err, "the configuration does not use it yet: write secret:%s where it belongs\n", args[0])
			}
			a.sayDegraded(kept.Degraded)
			return nil
		},
	}
	a.outputFlag(cmd)
	cmd.Flags().StringVar(&file, "file", "-", "file with the value; - is the standard input")
	cmd.AddCommand(a.clusterSecretListCommand(), a.clusterSecretRemoveCommand())
	return cmd
}

func (a *app) clusterSecretListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List the names of secrets, and whether the configuration uses them; no values", Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			all, err := c.ClusterSecrets(cmd.Context())
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(all)
			}
			if len(all) == 0 {
				fmt.Fprintln(a.out, "no secrets: masthead cluster secret NAME --file FILE")
				return nil
			}
			w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
			heading(w, "Secret", "Kept", "Used")
			for _, s := range all {
				fmt.Fprintf(w, " %s\t%s\t%s\n", s.Name, yesNo(s.Kept), yesNo(s.Named))
			}
			return w.Flush()
		},
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) clusterSecretRemoveCommand() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use: "rm NAME", Short: "Remove a secret that the configuration does not use", Args: exactArgs(1),
		ValidArgsFunction: a.completeSecrets(func(s wire.ClusterSecretState) bool { return s.Kept && !s.Named }),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			removed, err := c.RemoveClusterSecret(cmd.Context(), args[0], dryRun)
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(removed)
			}
			how := "is removed"
			if !removed.Applied {
				how = "would be removed"
			}
			fmt.Fprintf(a.out, "secret %s %s\n", removed.Name, how)
			a.sayDegraded(removed.Degraded)
			return nil
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would happen, and change nothing")
	a.outputFlag(cmd)
	return cmd
}

// completeSecrets completes the names of secrets that fit.
func (a *app) completeSecrets(fit func(wire.ClusterSecretState) bool) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		c, err := a.remote.client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		all, err := c.ClusterSecrets(cmd.Context())
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []string
		for _, s := range all {
			if fit(s) {
				names = append(names, s.Name)
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

func yesNo(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}
