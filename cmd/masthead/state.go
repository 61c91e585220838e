package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"masthead/node/wire"
)

func (a *app) stateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "state", Short: "Look at the replicated state of the cluster as a whole, save it and bring it back",
		Long: "Every head holds the whole state of the cluster: nodes, leases, images' tags, settings, the audit log. Equal hashes\n" +
			"mean that two heads hold the same bytes.",
	}
	cmd.AddCommand(a.stateHashCommand(), a.stateVerifyCommand(), a.stateDiffCommand(), a.stateExportCommand(), a.stateImportCommand())
	return cmd
}

func (a *app) stateHashCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "hash", Short: "Show the hash of the state that this head holds", Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			h, err := c.StateHash(cmd.Context())
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(h)
			}
			return a.printStateHash(h)
		},
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) printStateHash(h wire.StateHash) error {
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "head\t%s\nhash\t%s\nrecords\t%d\nlast write\t%s\nepoch\t%d\n", h.Head, h.Root, h.Records, when(h.Newest), h.Epoch)
	if !h.Horizon.IsZero() {
		fmt.Fprintf(w, "forgotten\twhat was deleted up to %s\n", when(h.Horizon))
	}
	if !h.Complete {
		fmt.Fprintf(w, "INCOMPLETE\tit has not yet had all that the other heads have\n")
	}
	if h.Damage != "" {
		fmt.Fprintf(w, "DAMAGE\t%s\n", h.Damage)
	}
	if h.ReadOnly != "" {
		fmt.Fprintf(w, "READ-ONLY\t%s\n", h.ReadOnly)
	}
	return w.Flush()
}

// when is a time for people; none is a dash.
func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format(time.DateTime)
}

func (a *app) stateVerifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "verify", Short: "Prove that all heads hold the same state", Args: exactArgs(0),
		Long: "Asks every configured head for the hash of its state. The exit code is 1 unless all answer and all are equal.\n" +
			"What is being written at the moment is waited for, about two seconds.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			v, err := c.StateVerify(cmd.Context())
			if err != nil {
				return err
			}
			if a.output == "json" {
				err = a.printJSON(v)
			} else {
				err = a.printVerify(v)
			}
			if err != nil {
				return err
			}
			return verdict(v)
		},
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) printVerify(v wire.StateVerify) error {
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "HEAD\tSTATE\tRECORDS\tLAST WRITE\tHASH")
	for i, h := range v.Heads {
		verdict := "equal"
		switch {
		case h.Root == "":
			verdict = "unreachable: " + h.Error
		case i == 0 && !h.Complete && len(v.Heads) > 1:
			verdict = "incomplete"
		case i == 0:
			verdict = "this head"
		case !h.Equal && h.Error != "":
			verdict = "differs (" + h.Error + ")"
		case !h.Equal:
			verdict = fmt.Sprintf("%d keys differ", h.Differ)
		}
		records := "-"
		if h.Root != "" {
			records = fmt.Sprint(h.Records)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", h.Head, verdict, records, when(h.Newest), orDash(h.Root))
	}
	return w.Flush()
}

// verdict is nil if all heads hold the same.
func verdict(v wire.StateVerify) error {
	if v.Equal {
		return nil
	}
	var differ []string
	for _, h := range v.Heads {
		if h.Root != "" && !h.Equal {
			differ = append(differ, h.Head)
		}
	}
	if len(differ) > 0 {
		return &hint{fmt.Errorf("the state of %s is not that of %s", strings.Join(differ, ", "), v.Heads[0].Head), "masthead state diff " + differ[0]}
	}
	return silence(v)
}

// silence is nil if all heads answer.
func silence(v wire.StateVerify) error {
	var silent []string
	for _, h := range v.Heads {
		if h.Root == "" {
			silent = append(silent, h.Head)
		}
	}
	if len(silent) == 0 {
		return nil
	}
	return &hint{fmt.Errorf("no answer from %s: nobody knows what they hold", strings.Join(silent, ", ")), "masthead head list -l"}
}

func (a *app) stateDiffCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "diff [HEAD]", Short: "Show what another head holds differently", Args: rangeArgs(0, 1),
		Long: "Lists each key that differs, with both versions and values. Without HEAD it takes every other head that differs;\n" +
			"the exit code is 1 if one does not answer. The heads repair such differences by themselves, within seconds.",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			heads := args
			var unknown error // heads that were not compared
			if len(heads) == 0 {
				v, err := c.StateVerify(cmd.Context())
				if err != nil {
					return err
				}
				for _, h := range v.Heads {
					if h.Root != "" && !h.Equal {
						heads = append(heads, h.Head)
					}
				}
				unknown = silence(v)
			}
			all := map[string][]wire.StateDiff{}
			for _, h := range heads {
				if all[h], err = c.StateDiff(cmd.Context(), h); err != nil {
					return err
				}
			}
			if a.output == "json" {
				return errors.Join(a.printJSON(all), unknown)
			}
			if len(heads) == 0 {
				fmt.Fprintln(a.out, "all heads that answer hold the same")
			}
			for _, h := range heads {
				a.printStateDiff(h, all[h])
			}
			return unknown
		},
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) printStateDiff(head string, diffs []wire.StateDiff) {
	fmt.Fprintf(a.out, "%s: %d keys differ\n", head, len(diffs))
	for _, d := range diffs {
		fmt.Fprintf(a.out, "  %s\n    here   %s\n    there  %s\n", d.Key, sideText(d.Ours), sideText(d.Theirs))
	}
}

// valueWidth is how much of a value a line shows; -o json has all of it.
const valueWidth = 200

func sideText(v *wire.StateValue) string {
	switch {
	case v == nil:
		return "nothing"
	case v.Deleted:
		return v.Version + "  deleted"
	case v.Value == nil:
		return v.Version + "  (changed again meanwhile)"
	}
	return v.Version + "  " + clip(string(v.Value))
}

func clip(s string) string {
	if len(s) <= valueWidth {
		return s
	}
	return strings.ToValidUTF8(s[:valueWidth], "") + "…"
}

func (a *app) stateExportCommand() *cobra.Command {
	var file string
	var secrets bool
	cmd := &cobra.Command{
		Use: "export -o FILE", Short: "Save the whole state as one readable file", Args: exactArgs(0),
		Long: "Writes all that the cluster knows as one JSON file, by key, that 'masthead state import' reads. Only its owner can\n" +
			"read it. Without --secrets it has no secrets in it, and says which are missing.",
		Example: "  masthead state export -o state.json\n  masthead state export --secrets -o /root/state-with-secrets.json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return usageError{&hint{errors.New("no file to write to"), "masthead state export -o FILE"}}
			}
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			return a.exportState(cmd.Context(), c, file, secrets)
		},
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "the file to write; - is standard output")
	cmd.Flags().BoolVar(&secrets, "secrets", false, "with the secrets")
	return cmd
}

func (a *app) exportState(ctx context.Context, c *wire.Client, file string, secrets bool) error {
	if file == "-" {
		return c.StateExport(ctx, secrets, a.out)
	}
	f, err := renameio.NewPendingFile(file, renameio.WithPermissions(0o600), renameio.IgnoreUmask())
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	defer f.Cleanup()
	if err := c.StateExport(ctx, secrets, f); err != nil {
		return err
	}
	said, err := aboutExport(f.Name())
	if err != nil {
		return fmt.Errorf("the head sent no whole export: %w", err)
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	fmt.Fprintf(a.out, "%s: %s\n", file, said)
	return nil
}

// aboutExport reads an export that was just written and says what is in it.
func aboutExport(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var e struct {
		Missing []string          `json:"missing"`
		Records []json.RawMessage `json:"records"`
	}
	if err := json.Unmarshal(data, &e); err != nil {
		return "", err
	}
	said := fmt.Sprintf("%d records", len(e.Records))
	if len(e.Missing) > 0 {
		said += fmt.Sprintf(", without %d secrets (--secrets)", len(e.Missing))
	}
	return said, nil
}

func (a *app) stateImportCommand() *cobra.Command {
	var dryRun, prune bool
	cmd := &cobra.Command{
		Use: "import FILE", Short: "Bring the state to what an exported file says", Args: exactArgs(1),
		Long: "Sets every key to the value that the file has, and with --prune deletes those that it has not. The file is checked\n" +
			"as a whole first. Which heads there are, the key of their membership protocol, who allocates what, and the audit\n" +
			"log stay as they are; so do secrets that the file leaves out.",
		Example: "  masthead state import state.json --dry-run",
		RunE: func(cmd *cobra.Command, args []string) error {
			data, err := readInput(args[0], a.in)
			if err != nil {
				return err
			}
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			done, err := c.StateImport(cmd.Context(), bytes.NewReader(data), prune, dryRun)
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(done)
			}
			a.printImported(done)
			return nil
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "check the file and show the difference, and change nothing")
	cmd.Flags().BoolVar(&prune, "prune", false, "delete what the file does not have")
	a.outputFlag(cmd)
	return cmd
}

func readInput(path string, in io.Reader) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(in)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the export: %w", err)
	}
	return data, nil
}

func (a *app) printImported(done wire.StateImported) {
	if len(done.Changes) == 0 {
		fmt.Fprintln(a.out, "state: nothing to change")
		return
	}
	how := "would change"
	if done.Applied {
		how = "changed"
	}
	fmt.Fprintf(a.out, "state: %d keys %s\n", len(done.Changes), how)
	for _, d := range done.Changes {
		value := func(v *wire.StateValue) string {
			if v == nil {
				return "-"
			}
			return clip(string(v.Value))
		}
		fmt.Fprintf(a.out, "  %s: %s -> %s\n", d.Key, value(d.Ours), value(d.Theirs))
	}
}
