package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"masthead/node/wire"
)

func (a *app) dataCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "data", Short: "Look at the replicated data, compare the copies, and choose one where they differ",
		Long: "The replicated volumes of the cluster (`data:` in its configuration). Each head has a copy; the owner writes to its own,\n" +
			"and the other one follows.",
	}
	cmd.AddCommand(a.dataStatusCommand(), a.dataChangeCommand("create", "Begin a new volume with this side's blank copy, without waiting for the other one"),
		a.dataChangeCommand("connect", "Connect the copies again"), a.dataVerifyCommand(), a.dataDivergenceCommand(), a.dataResolveCommand())
	return cmd
}

func (a *app) dataStatusCommand() *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show how the copies stand, and how far a resync is", Args: exactArgs(0),
		Example: "  masthead data status\n  masthead data status -w",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			for {
				all, err := c.Data(cmd.Context())
				if err != nil {
					return err
				}
				if err := a.printData(all); err != nil || !watch || settled(all) {
					return err
				}
				select {
				case <-cmd.Context().Done():
					return nil
				case <-time.After(dataLook):
				}
				fmt.Fprintln(a.out)
			}
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "again each second, until all copies are up to date")
	a.outputFlag(cmd)
	return cmd
}

// dataLook is the time between two looks of `status -w`: progress is measured once a second.
const dataLook = time.Second

// dataLost is how long an answer about the copies may fail to come: heads restart their daemons, and those that start have much
// to do. What they do with the copies goes on meanwhile.
const dataLost = time.Minute

// settled: all copies are up to date, see one another, and nothing runs.
func settled(all []wire.DataVolume) bool {
	for _, v := range all {
		if v.State != "up to date" || v.Connection != "Connected" || v.Replication != "Established" {
			return false
		}
	}
	return len(all) > 0
}

func (a *app) printData(all []wire.DataVolume) error {
	if a.output == "json" {
		if all == nil {
			all = []wire.DataVolume{}
		}
		return a.printJSON(all)
	}
	if len(all) == 0 {
		fmt.Fprintln(a.out, "no replicated data: `data:` in masthead cluster edit")
		return nil
	}
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	printVolumes(w, all)
	if err := w.Flush(); err != nil {
		return err
	}
	for _, v := range all {
		for _, line := range remarks(v) {
			fmt.Fprintf(a.out, " %s on %s: %s\n", v.Name, v.Head, line)
		}
	}
	return nil
}

// printVolumes writes the table of copies.
func printVolumes(w io.Writer, all []wire.DataVolume) {
	heading(w, "Volume", "Head", "Role", "Copy", "Connection", "Size", "Differs", "Progress")
	for _, v := range all {
		size, differs := "-", "-"
		if v.Size > 0 {
			size, differs = bytesText(v.Size), bytesText(v.OutOfSync)
		}
		fmt.Fprintf(w, " %s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", v.Name, v.Head, orDash(strings.ToLower(v.Role)), v.State, orDash(strings.ToLower(v.Connection)), size, differs, progressOf(v))
	}
}

// progressOf is how far a resync or a verification is.
func progressOf(v wire.DataVolume) string {
	if v.Replication == "" || v.Replication == "Off" || v.Replication == "Established" {
		return "-"
	}
	text := fmt.Sprintf("%s %.1f %%", map[string]string{
		"SyncSource": "gives", "SyncTarget": "takes", "VerifyS": "verifies", "VerifyT": "verifies", "PausedSyncS": "paused", "PausedSyncT": "paused",
	}[v.Replication], v.Done)
	if v.Rate > 0 {
		text += fmt.Sprintf(", %s/s", bytesText(int64(v.Rate)))
	}
	if v.Remaining > 0 {
		text += ", " + (time.Duration(v.Remaining) * time.Second).String() + " left"
	}
	return strings.TrimSpace(text)
}

// remarks is what else is to be said of a copy.
func remarks(v wire.DataVolume) (lines []string) {
	if v.Frozen {
		lines = append(lines, "WRITES WAIT: "+v.Word)
	}
	if v.Trouble != "" {
		lines = append(lines, v.Trouble)
	}
	if v.Doing != "" && v.Doing != v.Trouble {
		lines = append(lines, v.Doing)
	}
	if !v.Verified.IsZero() {
		differ := "no differences"
		if v.Differences > 0 {
			differ = bytesText(v.Differences) + " DIFFER"
		}
		lines = append(lines, fmt.Sprintf("verified %s: %s", v.Verified.Local().Format(time.DateTime), differ))
	}
	return lines
}

// dataChangeCommand is a command that needs nothing but the volume.
func (a *app) dataChangeCommand(action, short string) *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use: action + " [VOLUME]", Short: short, Args: rangeArgs(0, 1),
		Example: fmt.Sprintf("  masthead data %[1]s --dry-run\n  masthead data %[1]s db", action),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := a.changeData(cmd.Context(), args, wire.DataChange{Action: action, DryRun: dry})
			return err
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what would be done, and do nothing")
	return cmd
}

// changeData does something to a volume; without a name to the only one.
func (a *app) changeData(ctx context.Context, args []string, change wire.DataChange) (volume string, err error) {
	c, err := a.remote.client()
	if err != nil {
		return "", err
	}
	if volume, err = volumeOf(ctx, c, args, "%s"); err != nil {
		return "", err
	}
	out, err := c.ChangeData(ctx, volume, change)
	if err != nil {
		return "", err
	}
	for _, line := range out.Does {
		if change.DryRun {
			line += " (not done)"
		}
		fmt.Fprintln(a.out, line)
	}
	return volume, nil
}

// volumeOf is the volume that is named, or the only one. how is how this command wants to be told which, as a format.
func volumeOf(ctx context.Context, c *wire.Client, args []string, how string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	all, err := c.Data(ctx)
	if err != nil {
		return "", err
	}
	return onlyVolume(all, how)
}

// onlyVolume is the volume that is meant where none is named. Pure.
func onlyVolume(all []wire.DataVolume, how string) (string, error) {
	var names []string
	for _, v := range all {
		if !slices.Contains(names, v.Name) {
			names = append(names, v.Name)
		}
	}
	switch len(names) {
	case 0:
		return "", &hint{errors.New("the cluster has no replicated data"), "masthead cluster edit"}
	case 1:
		return names[0], nil
	}
	return "", usageError{&hint{fmt.Errorf("there are several volumes: %s", strings.Join(names, ", ")), "the same, with " + fmt.Sprintf(how, names[0])}}
}

func (a *app) dataDivergenceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show-divergence [VOLUME]", Short: "Show what each side has where both were written to by themselves", Args: rangeArgs(0, 1),
		Example: "  masthead data show-divergence\n  masthead data show-divergence db -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			name, err := volumeOf(cmd.Context(), c, args, "%s")
			if err != nil {
				return err
			}
			all, err := c.Data(cmd.Context())
			if err != nil {
				return err
			}
			var mine []wire.DataVolume
			for _, v := range all {
				if v.Name == name {
					mine = append(mine, v)
				}
			}
			if len(mine) == 0 {
				return &hint{fmt.Errorf("there is no volume %q", name), "masthead data status"}
			}
			diverged, unknown := divergence(mine)
			if a.output == "json" {
				return a.printJSON(divergedVolumes(mine, diverged, unknown))
			}
			if len(unknown) > 0 && !diverged {
				fmt.Fprintf(a.out, "%s: whether the copies have diverged is not known\n", name)
				for _, line := range unknown {
					fmt.Fprintf(a.out, "  %s\n", line)
				}
				fmt.Fprintln(a.out, "try: masthead data status")
				return nil
			}
			if !diverged {
				fmt.Fprintf(a.out, "%s: the copies have not diverged\n", name)
				return nil
			}
			fmt.Fprintf(a.out, "%s: both copies were written to by themselves. Both are kept until a person says which one counts.\n", name)
			for _, v := range mine {
				fmt.Fprintf(a.out, "  %s: %s, %s, generation %s, %s written or changed since they were last the same\n",
					v.Head, strings.ToLower(orDash(v.Role)), v.State, orDash(v.Generation), bytesText(v.OutOfSync))
			}
			fmt.Fprintf(a.out, "try: masthead data resolve %s --keep HEAD\n", name)
			return nil
		},
	}
	a.outputFlag(cmd)
	return cmd
}

// divergence tells whether the copies of a volume have diverged, and of which of them that cannot be told, and why. Pure.
func divergence(copies []wire.DataVolume) (diverged bool, unknown []string) {
	for _, v := range copies {
		switch v.State {
		case "diverged":
			diverged = true
		case "unknown":
			unknown = append(unknown, v.Head+": "+cmp.Or(v.Trouble, v.Doing, "how its copy stands is not known"))
		}
	}
	return diverged, unknown
}

// divergedVolume is a copy, and whether those of its volume have diverged: null where that is not known.
type divergedVolume struct {
	wire.DataVolume
	Diverged *bool `json:"diverged"`
}

func divergedVolumes(copies []wire.DataVolume, diverged bool, unknown []string) []divergedVolume {
	all := []divergedVolume{}
	for _, v := range copies {
		one := divergedVolume{DataVolume: v}
		if diverged || len(unknown) == 0 {
			one.Diverged = &diverged
		}
		all = append(all, one)
	}
	return all
}

func (a *app) dataResolveCommand() *cobra.Command {
	var keep, word string
	var dry bool
	cmd := &cobra.Command{
		Use: "resolve [VOLUME] --keep HEAD", Short: "Say which copy counts where both were written to; the other side's writes are lost",
		Args:    rangeArgs(0, 1),
		Example: "  masthead data show-divergence\n  masthead data resolve --keep head1",
		RunE: func(cmd *cobra.Command, args []string) error {
			if keep == "" {
				return usageError{&hint{errors.New("which copy is to be kept? want --keep HEAD"), "masthead data show-divergence; then masthead data resolve --keep HEAD"}}
			}
			change := wire.DataChange{Action: "resolve", Keep: keep, DryRun: true}
			volume, err := a.changeData(cmd.Context(), args, change)
			if err != nil || dry {
				return err
			}
			want := volume + " " + keep
			if word == "" && terminalIn(a.in) {
				fmt.Fprintf(a.out, "What only the other copy has is lost for good. Type %q to go on: ", want)
				word, _ = bufio.NewReader(a.in).ReadString('\n')
			}
			if strings.TrimSpace(word) != want {
				return &hint{errors.New("not confirmed, and nothing was done"), fmt.Sprintf("masthead data resolve %s --keep %s --confirm %q", volume, keep, want)}
			}
			change.DryRun = false
			_, err = a.changeData(cmd.Context(), []string{volume}, change)
			return err
		},
	}
	cmd.Flags().StringVar(&keep, "keep", "", "the head whose copy counts")
	cmd.Flags().StringVar(&word, "confirm", "", "\"VOLUME HEAD\", for scripts: what a person would type")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what would be done, and do nothing")
	return cmd
}
