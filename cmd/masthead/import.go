package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"masthead/appliance/configuration"
	"masthead/appliance/foreign"
	"masthead/node/wire"
)

func (a *app) importCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "import", Short: "Make a configuration of that of another suite",
		Long: "Makes a configuration of the cluster (masthead cluster) of that of an older suite. For each line it says on the\n" +
			"standard error whether it was understood, and what became of it; the document goes to the standard output, or to the\n" +
			"file of -o. With --set it is added to the configuration in force, after showing the difference.",
	}
	cmd.AddCommand(
		a.importFrom("cluster.conf FILE", "Of Red Hat's cluster suite (cman and rgmanager)", "  masthead import cluster.conf /etc/cluster/cluster.conf\n  masthead import cluster.conf /etc/cluster/cluster.conf --set --dry-run",
			exactArgs(1), func(files [][]byte) (foreign.Result, error) { return foreign.ClusterConf(files[0]) }),
		a.importFrom("heartbeat HA.CF [HARESOURCES]", "Of Heartbeat (Linux-HA)", "  masthead import heartbeat /etc/ha.d/ha.cf /etc/ha.d/haresources",
			rangeArgs(1, 2), func(files [][]byte) (foreign.Result, error) {
				return foreign.Heartbeat(files[0], append(files, nil)[1])
			}),
		a.importFrom("mon MON.CF", "Of mon, the service monitor", "  masthead import mon /etc/mon/mon.cf",
			exactArgs(1), func(files [][]byte) (foreign.Result, error) { return foreign.Mon(files[0]) }),
	)
	return cmd
}

func (a *app) importFrom(use, short, example string, args cobra.PositionalArgs, convert func(files [][]byte) (foreign.Result, error)) *cobra.Command {
	var file string
	var set, dryRun bool
	cmd := &cobra.Command{
		Use: use, Short: short, Example: example, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			if dryRun && !set {
				return usageError{&hint{errors.New("--dry-run is for --set: without that nothing is changed"), cmd.CommandPath() + " --help"}}
			}
			var files [][]byte
			for _, name := range args {
				data, err := a.readFile(name)
				if err != nil {
					return err
				}
				files = append(files, data)
			}
			result, err := convert(files)
			if err != nil {
				return fmt.Errorf("import %s: %w", strings.Join(args, " "), err)
			}
			sayLines(a.err, result)
			if set {
				return a.setImported(cmd.Context(), result, dryRun)
			}
			a.nameSecrets(result)
			text, err := configuration.Encode(result.Document)
			if err != nil {
				return err
			}
			if file != "" {
				if err := os.WriteFile(file, text, 0o644); err != nil {
					return fmt.Errorf("write the configuration: %w", err)
				}
				return nil
			}
			_, err = a.out.Write(text)
			return err
		},
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "file for the configuration (default: the standard output)")
	cmd.Flags().BoolVar(&set, "set", false, "add it to the configuration of the cluster")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "with --set: show the difference, and change nothing")
	return cmd
}

// sayLines tells what became of each line; those that were not understood are marked.
func sayLines(w io.Writer, r foreign.Result) {
	lost := 0
	for _, l := range r.Lines {
		mark := " "
		if !l.Understood {
			mark = "?"
			lost++
		}
		fmt.Fprintf(w, "%s %s:%d: %s\n", mark, l.File, l.Number, l.Text)
		if l.Note != "" {
			fmt.Fprintf(w, "      -> %s\n", l.Note)
		}
	}
	if lost == 0 {
		fmt.Fprintf(w, "all %d lines were understood\n", len(r.Lines))
		return
	}
	fmt.Fprintf(w, "%d of %d lines were understood; the %d marked with ? were not, or not all of them\n", len(r.Lines)-lost, len(r.Lines), lost)
}

// nameSecrets tells which passwords the document needs. They are never shown.
func (a *app) nameSecrets(r foreign.Result) {
	for _, name := range slices.Sorted(maps.Keys(r.Secrets)) {
		fmt.Fprintf(a.err, "a password was left out of the document: masthead cluster secret %s --file FILE (--set does it)\n", name)
	}
}

// setByHand is what to do with a document that does not fit.
const setByHand = "the same without --set and with -o FILE; correct FILE, then masthead cluster set FILE"

// setImported adds what was imported to the configuration in force.
func (a *app) setImported(ctx context.Context, r foreign.Result, dryRun bool) error {
	c, err := a.remote.client()
	if err != nil {
		return err
	}
	now, err := c.Cluster(ctx)
	if err != nil {
		return err
	}
	merged, left, err := configuration.Merge([]byte(now.Text), r.Document)
	if err != nil {
		return err
	}
	for _, field := range left {
		fmt.Fprintf(a.err, "%s is there already, with something else, and stays as it is\n", field)
	}
	if _, err := configuration.Parse("merged", merged); err != nil {
		return &hint{err, setByHand}
	}
	change := wire.ClusterChange{Text: string(merged), Version: now.Version, DryRun: dryRun}
	if !dryRun {
		// What the document would be refused for is told before a secret is kept.
		if _, err := c.SetCluster(ctx, wire.ClusterChange{Text: change.Text, Version: change.Version, DryRun: true}); err != nil {
			return &hint{err, setByHand}
		}
	}
	if err := a.keepSecrets(ctx, c, r, now.Text, dryRun); err != nil {
		return err
	}
	return a.setCluster(ctx, change)
}

// keepSecrets keeps the passwords of what was imported, but none under a name that is used already: it could be another.
func (a *app) keepSecrets(ctx context.Context, c *wire.Client, r foreign.Result, before string, dryRun bool) error {
	used, err := configuration.Secrets([]byte(before))
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(r.Secrets)) {
		switch {
		case slices.Contains(used, name):
			fmt.Fprintf(a.err, "secret %s is there already, and stays as it is\n", name)
		case dryRun:
			fmt.Fprintf(a.err, "would keep secret %s\n", name)
		default:
			kept, err := c.SetClusterSecret(ctx, name, r.Secrets[name])
			if err != nil {
				return fmt.Errorf("keep secret %s: %w", name, err)
			}
			fmt.Fprintf(a.err, "secret %s is kept\n", name)
			a.sayDegraded(kept.Degraded)
		}
	}
	return nil
}
