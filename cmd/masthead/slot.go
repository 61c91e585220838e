package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"masthead/appliance/install"
	"masthead/images"
	"masthead/images/disk"
	"masthead/node"
	"masthead/node/slot"
)

func (a *app) slotCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "slot", Short: "The two images that an installed head can start",
		Long: "An installed head has two slots. It runs from one; an upgrade is written to the other and started once: found healthy it\n" +
			"is the one that starts from then on, else the old one starts again by itself. masthead upgrade writes it.",
	}
	cmd.AddCommand(a.slotListCommand(), a.slotRollbackCommand(), a.slotConfirmCommand())
	return cmd
}

// slotRow is one slot for people and programs.
type slotRow struct {
	Slot    disk.Slot     `json:"slot"`
	State   string        `json:"state"`
	Name    string        `json:"name,omitempty"`
	Image   images.Digest `json:"image,omitempty"`
	Kernel  string        `json:"kernel,omitempty"`
	Size    int64         `json:"size,omitempty"`
	Written time.Time     `json:"written,omitzero"`
	Note    string        `json:"note,omitempty"`
}

func (a *app) slotListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List the slots of this head, and what became of the last upgrade", Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, env, record, err := thisSlots()
			if err != nil {
				return err
			}
			var rows []slotRow
			for _, s := range []disk.Slot{disk.SlotA, disk.SlotB} {
				rows = append(rows, slotRowOf(s, m, env, record))
			}
			if a.output == "json" {
				return a.printJSON(rows)
			}
			w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "SLOT\tSTATE\tNAME\tIMAGE\tKERNEL\tSIZE\tWRITTEN\tNOTE")
			for _, r := range rows {
				written := "-"
				if !r.Written.IsZero() {
					written = r.Written.Local().Format("2006-01-02 15:04")
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Slot, orDash(r.State), orDash(r.Name), orDash(r.Image.Short()), orDash(r.Kernel), install.Size(r.Size), written, r.Note)
			}
			return w.Flush()
		},
	}
	a.outputFlag(cmd)
	return cmd
}

// thisSlots is all that is known of the slots of this machine.
func thisSlots() (slot.Machine, disk.Env, slot.Record, error) {
	m, err := slot.Find("/sys", "/proc", "/dev")
	if err != nil {
		return m, disk.Env{}, slot.Record{}, &hint{err, "masthead install, on a machine that was started from the ISO"}
	}
	env, err := m.Environment().Read()
	if err != nil {
		return m, env, slot.Record{}, err
	}
	r, err := slot.ReadRecord(images.StateDir)
	return m, env, r, err
}

// slotRowOf looks into a slot.
func slotRowOf(s disk.Slot, m slot.Machine, env disk.Env, r slot.Record) slotRow {
	row := slotRow{Slot: s, State: slotState(s, m.Running, env), Written: r.Slots[s].Written, Note: slotNote(s, r)}
	dev, err := m.Slot(s)
	if err != nil {
		row.Note = err.Error()
		return row
	}
	f, v, err := install.OpenISO(dev.Path)
	if err != nil {
		if r.Slots[s].Name == "" {
			row.State = strings.TrimPrefix(row.State+", empty", ", ")
			return row
		}
		row.Note = err.Error()
		return row
	}
	defer f.Close()
	source, _, err := v.Head()
	if err != nil {
		row.Note = err.Error()
		return row
	}
	row.Name, row.Image, row.Kernel, row.Size = source.Name, source.Image, source.Kernel, source.Size
	return row
}

// slotNote is what became of the last upgrade of a slot, if none is under way. Pure.
func slotNote(s disk.Slot, r slot.Record) string {
	if f := r.Failed; f != nil && f.Slot == s && (r.Trial == nil || r.Trial.Slot != s) {
		return "did not come up healthy: " + f.Reason
	}
	return ""
}

// slotState is how a slot stands. Pure.
func slotState(s, running disk.Slot, env disk.Env) string {
	var words []string
	if s == running {
		words = append(words, "runs")
	}
	if s == env.Slot {
		words = append(words, "starts")
	}
	if s == env.Try {
		words = append(words, "is tried at the next start")
	}
	if s == env.Tried {
		if s == running {
			words = append(words, "on trial")
		} else {
			words = append(words, "was tried and fell back")
		}
	}
	return strings.Join(words, ", ")
}

func (a *app) slotRollbackCommand() *cobra.Command {
	var yes, dryRun, noRestart bool
	cmd := &cobra.Command{
		Use: "rollback", Short: "Start the image in the other slot again", Args: exactArgs(0),
		Long: "Starts the image in the other slot, which is what ran before the last upgrade, with what was written over it then. It is\n" +
			"tried as an upgrade is: if it does not come up healthy, the present one starts again.",
		Example: "  masthead slot rollback --dry-run\n  masthead slot rollback --yes",
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, env, record, err := thisSlots()
			if err != nil {
				return err
			}
			other := m.Running.Other()
			row := slotRowOf(other, m, env, record)
			if row.Image == "" {
				return &hint{fmt.Errorf("slot %s holds no image: %s", other, orElse(row.Note, "it is empty")), "masthead upgrade ISO"}
			}
			fmt.Fprintf(a.out, "slot %s: image %s %s, kernel %s\n", other, row.Name, row.Image.Short(), row.Kernel)
			if dryRun {
				fmt.Fprintln(a.out, "would start it; nothing was changed")
				return nil
			}
			if err := a.confirmName(fmt.Sprintf("Type the name of the slot, %s, to start it: ", other), string(other), yes, "masthead slot rollback --yes"); err != nil {
				return err
			}
			record.Trial = &slot.Trial{Slot: other, Image: row.Image, Began: time.Now().UTC(), Deadline: slot.DefaultDeadline}
			if err := record.Write(images.StateDir); err != nil {
				return err
			}
			if err := m.Environment().Write(slot.Try(env, other)); err != nil {
				return err
			}
			if noRestart {
				fmt.Fprintln(a.out, "it starts with the next restart: masthead reboot")
				return nil
			}
			return node.Restart(cmd.Context(), node.Firmware)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it without asking")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would start, and change nothing")
	cmd.Flags().BoolVar(&noRestart, "no-restart", false, "leave the restart to somebody else")
	return cmd
}
