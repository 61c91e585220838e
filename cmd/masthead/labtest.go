package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"masthead/appliance/configuration"
	"masthead/images"
	"masthead/node/wire"
	"masthead/vmtest"
	"masthead/vmtest/cluster"
)

// takeoverLab is the lab of the scenario matrix, as seen from a checkout.
const takeoverLab = "vmtest/takeover.yaml"

func (a *app) labTestCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "test", Short: "Put a cluster through faults, and judge what became of it"}
	cmd.AddCommand(a.labTestTakeoverCommand(), a.labTestJourneyCommand())
	return cmd
}

type takeoverFlags struct {
	only    []string
	list    bool
	timeout time.Duration
}

func (a *app) labTestTakeoverCommand() *cobra.Command {
	var f takeoverFlags
	cmd := &cobra.Command{
		Use: "takeover [LAB.yaml]", Short: "Two heads, every fault, and who owns the cluster then", Args: rangeArgs(0, 1),
		Long: "Boots the two heads of a lab file (left out: " + takeoverLab + ") and puts them through faults, one after another:\n" +
			"planned switch, kill -9, power cut, panic, cut cables, cold boots. A machine outside of the heads asks for the\n" +
			"virtual address every 5 ms; what it saw is judged, not what the heads say. The exit code tells whether all went as it\n" +
			"must.\n\n" +
			"Where QEMU has no KVM the machines' processors are emulated, and silences are longer than the goals for hardware: they\n" +
			"are shown, and fail a scenario only where they are longer by 5 s.",
		Example: "  masthead build iso images/head.yaml -o out\n  masthead lab test takeover\n  masthead lab test takeover --only power-cut,panic",
		RunE: func(cmd *cobra.Command, args []string) error {
			file := takeoverLab
			if len(args) > 0 {
				file = args[0]
			}
			return a.labTestTakeover(cmd.Context(), file, f)
		},
	}
	cmd.Flags().StringSliceVar(&f.only, "only", nil, "run these scenarios alone, by NAME,…")
	cmd.Flags().BoolVar(&f.list, "list", false, "show the scenarios, and run none")
	cmd.Flags().DurationVar(&f.timeout, "timeout", upTimeout, "how long each machine may take to come up")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) labTestTakeover(ctx context.Context, file string, f takeoverFlags) error {
	scenarios, err := chosen(cluster.Scenarios(), f.only)
	if err != nil {
		return err
	}
	if f.list {
		if a.output == "json" {
			return a.printJSON(scenarios)
		}
		for _, s := range scenarios {
			fmt.Fprintf(a.out, "%-14s %-7s %s\n", s.Name, s.Ends, s.What)
		}
		return nil
	}
	var rows []cluster.Row
	err = a.withTakeover(ctx, file, f.timeout, func(t *cluster.Takeover) error {
		if a.output != "json" {
			fmt.Fprintf(a.out, rowFormat, "SCENARIO", "OWNER", "EPOCH", "GAP", "GOAL", "RETURN", "DOUBLE", "MAILS", "VERDICT")
		}
		for _, s := range scenarios {
			row, err := t.Run(ctx, s)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			rows = append(rows, row)
			if a.output != "json" {
				a.printRow(row)
			}
			if err != nil {
				fmt.Fprintf(a.err, "%s\n", t.Report(ctx))
				return err
			}
		}
		return nil
	})
	if a.output == "json" {
		err = errors.Join(a.printJSON(rows), err)
	}
	if err != nil {
		return err
	}
	bad := 0
	for _, r := range rows {
		if r.Failed != "" {
			bad++
		}
	}
	if bad > 0 {
		return &hint{fmt.Errorf("%d of %d scenarios did not go as they must", bad, len(rows)), "masthead lab test takeover --only NAME"}
	}
	return nil
}

// chosen are the scenarios of those names, in their own order; all where none is named.
func chosen(all []cluster.Scenario, only []string) ([]cluster.Scenario, error) {
	for _, name := range only {
		if !slices.ContainsFunc(all, func(s cluster.Scenario) bool { return s.Name == name }) {
			return nil, &hint{fmt.Errorf("there is no scenario %q", name), "masthead lab test takeover --list"}
		}
	}
	if len(only) == 0 {
		return all, nil
	}
	return slices.DeleteFunc(slices.Clone(all), func(s cluster.Scenario) bool { return !slices.Contains(only, s.Name) }), nil
}

const rowFormat = "%-13s %-15s %-6s %9s %8s %9s %6s %5s  %s\n"

func (a *app) printRow(r cluster.Row) {
	if r.Skipped != "" {
		fmt.Fprintf(a.out, rowFormat, r.Scenario, "-", "-", "-", "-", "-", "-", "-", "skipped: "+r.Skipped)
		return
	}
	owner := r.Before + " stays"
	if r.After != r.Before {
		owner = r.Before + " → " + r.After
	}
	goal := "-"
	if r.Goal > 0 {
		goal = fmt.Sprintf("%.0f ms", r.Goal)
	}
	verdict := "ok"
	switch {
	case r.Failed != "":
		verdict = "FAILED: " + r.Failed
	case r.OverGoal():
		verdict = "ok, over the goal for hardware"
	}
	if r.Refenced > 0 {
		verdict += fmt.Sprintf("; switched off again while it booted, %d times", r.Refenced)
	}
	fmt.Fprintf(a.out, rowFormat, r.Scenario, owner, r.Epoch, fmt.Sprintf("%.0f ms", r.Gap), goal, fmt.Sprintf("%.0f ms", r.Return),
		fmt.Sprint(r.Double), fmt.Sprint(r.Mails), verdict)
}

// withTakeover boots the heads of a lab and runs f with them, watched.
func (a *app) withTakeover(ctx context.Context, file string, timeout time.Duration, f func(*cluster.Takeover) error) error {
	config, err := loadLab(file)
	if err != nil {
		return err
	}
	if err := checkLab(file, config, 2); err != nil {
		return err
	}
	dir, err := labDir(config.Name)
	if err != nil {
		return err
	}
	out := a.out
	if a.output == "json" {
		out = a.err
	}
	show := newBoard(out)
	c, err := cluster.Up(ctx, config, dir)
	if err != nil {
		return err
	}
	var control errgroup.Group
	defer func() {
		forgetHead(dir)
		if err := errors.Join(c.Down(), control.Wait()); err != nil && ctx.Err() == nil {
			a.log.Warn("take the lab down", "err", err)
		}
	}()
	control.Go(func() error { return c.Serve(ctx) })
	_, err = a.bootCluster(ctx, c, show, dir, timeout)
	show.close()
	if err != nil {
		fmt.Fprintf(a.err, "%s\n", c.Report(ctx))
		return &hint{err, "look at the consoles in " + dir}
	}
	t, err := watched(ctx, c)
	if err != nil {
		return err
	}
	return errors.Join(f(t), t.Close())
}

// loadLab reads a lab file, and makes sure that there is what its machines boot from.
func loadLab(file string) (vmtest.Config, error) {
	config, err := vmtest.Load(file)
	if errors.Is(err, os.ErrNotExist) {
		return config, &hint{err, "masthead lab … LAB.yaml; the checkout has some in vmtest/"}
	}
	if err != nil {
		return config, wrongLab(err, 1)
	}
	for name, m := range config.Machines {
		if m.ISO == "" {
			continue
		}
		if _, err := os.Stat(m.ISO); err != nil {
			return config, &hint{fmt.Errorf("machine %s boots from %s, which is not there", name, m.ISO),
				"masthead build iso images/" + strings.TrimSuffix(filepath.Base(m.ISO), ".iso") + ".yaml -o " + filepath.Dir(m.ISO)}
		}
	}
	return config, nil
}

// checkLab makes sure that a lab can come up with so many heads, before anything is switched on.
func checkLab(file string, config vmtest.Config, heads int) error {
	if err := cluster.Check(config, heads); err != nil {
		return wrongLab(fmt.Errorf("%s: %w", file, err), heads)
	}
	return nil
}

// wrongLab says where to see a lab file that is right.
func wrongLab(err error, heads int) error {
	example := "vmtest/demo.yaml"
	if heads > 1 {
		example = takeoverLab
	}
	return &hint{err, "correct the file; " + example + " shows how it is done"}
}

// watched configures the two heads of a running lab, and begins to watch their virtual address.
func watched(ctx context.Context, c *cluster.Cluster) (*cluster.Takeover, error) {
	text, err := c.Document()
	if err != nil {
		return nil, err
	}
	address, err := labVIP(text)
	if err != nil {
		return nil, err
	}
	clients := map[string]*wire.Client{}
	for _, name := range c.Named(images.RoleHead) {
		if clients[name], _, err = c.Head(ctx, name); err != nil {
			return nil, err
		}
	}
	t, err := cluster.Watched(ctx, c, cluster.Prepared{VIP: address, Clients: clients})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// labVIP is the virtual address of a lab's configuration of the cluster.
func labVIP(text string) (netip.Addr, error) {
	// The mail server is there only when the address to watch is known; any one makes the text whole.
	text = strings.NewReplacer(cluster.ProberName, cluster.ProberAddress.String(), cluster.MailName, "127.0.0.1:25").Replace(text)
	document, err := configuration.Parse("cluster of the lab file", []byte(text))
	if err != nil {
		return netip.Addr{}, err
	}
	if len(document.VIPs) == 0 {
		return netip.Addr{}, &hint{errors.New("the lab's configuration of the cluster has no virtual address"), "see cluster: in vmtest/demo.yaml"}
	}
	return document.VIPs[0].Address.Addr(), nil
}
