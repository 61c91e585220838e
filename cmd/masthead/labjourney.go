package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"masthead/vmtest/cluster"
)

// journeyLab is the lab of the whole way, as seen from a checkout.
const journeyLab = "vmtest/install.yaml"

func (a *app) labTestJourneyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "install-to-takeover [LAB.yaml]", Short: "From two blank machines to a takeover and back", Args: rangeArgs(0, 1),
		Long: "Goes the whole way of an administrator with the machines of a lab file (left out: " + journeyLab + "): the first is\n" +
			"installed from the ISO, the second is made its backup by 'masthead master-maker', workers boot from them, MariaDB\n" +
			"runs on the replicated volume while a client writes to it; the master's plug is pulled, it comes back as the\n" +
			"standby, and the cluster is switched back. Every write that was acknowledged must be there. The exit code tells.",
		Example: "  masthead build iso vmtest/head-data.yaml -o out\n  masthead lab test install-to-takeover",
		RunE: func(cmd *cobra.Command, args []string) error {
			file := journeyLab
			if len(args) > 0 {
				file = args[0]
			}
			return a.labTestJourney(cmd.Context(), file)
		},
	}
	a.outputFlag(cmd)
	return cmd
}

const passedFormat = "%-13s %-7s %-6s %9s %7s %5s %7s  %s\n"

func (a *app) labTestJourney(ctx context.Context, file string) error {
	config, err := loadLab(file)
	if err != nil {
		return err
	}
	dir, err := labDir(config.Name)
	if err != nil {
		return err
	}
	c, err := cluster.Up(ctx, config, dir)
	if err != nil {
		return err
	}
	var control errgroup.Group
	defer func() {
		if err := errors.Join(c.Down(), control.Wait()); err != nil && ctx.Err() == nil {
			a.log.Warn("take the lab down", "err", err)
		}
	}()
	control.Go(func() error { return c.Serve(ctx) })
	text, err := c.Document()
	if err != nil {
		return err
	}
	vip, err := labVIP(text)
	if err != nil {
		return err
	}
	j, err := cluster.NewJourney(c, vip)
	if err != nil {
		return err
	}
	var rows []cluster.Passed
	table := a.output != "json"
	if table {
		fmt.Fprintf(a.out, passedFormat, "STEP", "OWNER", "EPOCH", "GAP", "WRITES", "LOST", "TOOK", "RESULT")
	}
	err = j.Run(ctx, func(step, what string) { fmt.Fprintf(a.err, "%s: %s\n", step, what) }, func(p cluster.Passed) {
		rows = append(rows, p)
		if table {
			a.printPassed(p)
		}
	})
	if !table {
		err = errors.Join(a.printJSON(rows), err)
	}
	if err != nil {
		fmt.Fprintf(a.err, "%s\n", c.Report(ctx))
		return &hint{err, "look at the consoles in " + dir}
	}
	return nil
}

func (a *app) printPassed(p cluster.Passed) {
	gap, result := "-", p.Found
	if p.Gap > 0 {
		gap = fmt.Sprintf("%.0f ms", p.Gap)
	}
	if p.Failed != "" {
		result = "FAILED: " + p.Failed
	}
	fmt.Fprintf(a.out, passedFormat, p.Step, orDash(p.Owner), orDash(p.Epoch), gap, fmt.Sprint(p.Writes), fmt.Sprint(p.Lost),
		time.Duration(p.Took*float64(time.Second)).Round(time.Second), result)
}
