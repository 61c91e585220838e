package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"masthead/appliance/install"
	"masthead/images"
	"masthead/node"
	"masthead/node/agent"
	"masthead/node/blockdev"
	"masthead/node/slot"
)

// upgradeFlags are how an upgrade is to run.
type upgradeFlags struct {
	all, dryRun, yes, noRestart, force bool
	deadline                           time.Duration
}

// confirmed is the command that was typed, with what leaves out the question.
func (f upgradeFlags) confirmed(ref string) string {
	words := []string{"masthead upgrade", ref}
	for _, flag := range []struct {
		name string
		set  bool
	}{{"--all", f.all}, {"--force", f.force}, {"--no-restart", f.noRestart}, {"--deadline " + f.deadline.String(), f.deadline != slot.DefaultDeadline}} {
		if flag.set {
			words = append(words, flag.name)
		}
	}
	return strings.Join(append(words, "--yes"), " ")
}

func (a *app) upgradeCommand() *cobra.Command {
	var f upgradeFlags
	cmd := &cobra.Command{
		Use: "upgrade ISO|IMAGE", Short: "Write another image into the other slot of this head, and start it", Args: exactArgs(1),
		Long: "Writes an ISO (a file, the device of a stick, or one made of an image of this cluster) into the slot that this head\n" +
			"does not run from, checks it, carries over what was written over the root, keeps a snapshot of the replicated data,\n" +
			"and restarts into it once. If the head is found healthy the new image is the one that starts from then on; else the\n" +
			"old one starts again by itself, and says so.\n\n" +
			"With --all, on the head that owns the cluster: first the others, each found healthy before the next; then a planned\n" +
			"switch; then this one. It stops at the first that is not healthy.",
		Example: "  masthead upgrade head.iso --dry-run\n  masthead upgrade /dev/sdb\n  masthead upgrade head.iso --all",
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.all {
				return a.upgradeAll(cmd.Context(), args[0], f)
			}
			return a.upgradeThis(cmd.Context(), args[0], f)
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&f.all, "all", false, "all heads of the cluster, one after the other")
	fl.BoolVar(&f.dryRun, "dry-run", false, "show what would be written and carried over, and change nothing")
	fl.BoolVar(&f.yes, "yes", false, "do it without asking")
	fl.BoolVar(&f.noRestart, "no-restart", false, "leave the restart to somebody else")
	fl.BoolVar(&f.force, "force", false, "also the image that runs already")
	fl.DurationVar(&f.deadline, "deadline", slot.DefaultDeadline, "time from the start of the new image to being found healthy")
	a.outputFlag(cmd)
	return cmd
}

// upgradeThis upgrades this head.
func (a *app) upgradeThis(ctx context.Context, path string, f upgradeFlags) error {
	target, err := thisTarget()
	if err != nil {
		return err
	}
	ref := path
	path, remove, err := a.isoFor(ctx, ref)
	if err != nil {
		return err
	}
	defer func() { _ = remove() }() // it lies on the state partition, and the next upgrade writes over it
	iso, volume, err := install.OpenISO(path)
	if err != nil {
		return &hint{err, "masthead upgrade ISO, with a file that masthead build iso has made"}
	}
	defer iso.Close()
	if path != ref { // it was made on the state partition, after that was looked at
		target.Free -= volume.Size
	}
	left, pack, store, err := a.leftBehind(ctx, volume)
	if err != nil {
		return err
	}
	for _, b := range left {
		target.Free -= b.Size
	}
	files := install.Files{ISO: iso, Volume: volume, State: images.StateMount, Was: os.DirFS(images.RootLower), OpenDev: openSlot}
	show := newInstallProgress(a.err)
	plan, carryTo, err := install.PlanUpgrade(ctx, target, files, f.force, show.update)
	show.close()
	if err != nil {
		return err
	}
	plan.Deadline = f.deadline
	plan.Kept = left
	if err := a.showUpgrade(plan, f); err != nil || f.dryRun {
		return errors.Join(err, carryTo(ctx, "", nil))
	}
	if err := a.confirmName(fmt.Sprintf("Type the name of the slot, %s, to go on: ", plan.Slot), string(plan.Slot), f.yes, f.confirmed(ref)); err != nil {
		return errors.Join(err, carryTo(ctx, "", nil))
	}
	a.snapshotFirst(ctx)
	stepBack()
	show = newInstallProgress(a.err)
	if err = install.Keep(ctx, left, pack, store, show.update); err != nil {
		return errors.Join(err, carryTo(ctx, "", nil))
	}
	err = install.RunUpgrade(ctx, target, plan, files, carryTo, show.update, time.Now())
	show.close()
	if err != nil {
		return err
	}
	if f.noRestart {
		fmt.Fprintf(a.out, "slot %s is tried at the next restart: masthead reboot\n", plan.Slot)
		return nil
	}
	fmt.Fprintf(a.out, "restarts into slot %s; masthead slot list tells how it went\n", plan.Slot)
	return node.Restart(ctx, node.Firmware)
}

// thisTarget is what there is to know of this machine.
func thisTarget() (install.Target, error) {
	m, env, record, err := thisSlots()
	if err != nil {
		return install.Target{}, err
	}
	t := install.Target{Machine: m, Env: env, Record: record, Name: record.Slots[m.Running].Name}
	other, err := m.Slot(m.Running.Other())
	if err != nil {
		return t, err
	}
	t.Room = other.Size
	left, err := agent.LoadConfig(images.RunNode)
	if err != nil {
		return t, err
	}
	t.Running = left.Image
	var st unix.Statfs_t
	if err := unix.Statfs(images.StateMount, &st); err != nil {
		return t, &hint{fmt.Errorf("look at the state partition: %w", err), "masthead slot list"}
	}
	if _, err := os.Stat(filepath.Join(images.StateMount, images.OverlayDir, string(m.Running))); err != nil {
		return t, &hint{errors.New("this head keeps what is written in memory, so nothing can be carried over"), "see the console of its start: the state partition was not used"}
	}
	t.Free = int64(st.Bavail) * st.Bsize
	return t, nil
}

// openSlot opens the partition of a slot, for nobody else.
func openSlot(d blockdev.Device) (install.SlotFile, error) {
	f, err := os.OpenFile(d.Path, os.O_RDWR|unix.O_EXCL, 0)
	if err != nil {
		return nil, fmt.Errorf("open the slot: %w", err)
	}
	return f, nil
}

// showUpgrade says what will be written where.
func (a *app) showUpgrade(u install.Upgrade, f upgradeFlags) error {
	if a.output == "json" {
		return a.printJSON(struct {
			install.Upgrade
			Applied bool `json:"applied"`
		}{u, !f.dryRun})
	}
	s := u.Source
	fmt.Fprintf(a.out, "image %s %s, kernel %s, %s → slot %s (slot %s runs %s)\n", s.Name, s.Image.Short(), s.Kernel, install.Size(s.Size), u.Slot, u.Slot.Other(), u.Running.Short())
	if n := len(u.Kept); n > 0 {
		var size int64
		for _, b := range u.Kept {
			size += b.Size
		}
		fmt.Fprintf(a.out, "kept in the store: %s of images that only slot %s has; no tag changes: masthead image list afterwards says how nodes get those of the ISO\n",
			install.Size(size), u.Slot.Other())
	}
	o := u.Overlay
	fmt.Fprintf(a.out, "carried over: %d files, %s\n", o.Files, install.Size(o.Bytes))
	if len(o.Packages) > 0 {
		fmt.Fprintf(a.out, "packages of this machine: %s\n", strings.Join(o.Packages, ", "))
	}
	for _, note := range o.Notes {
		fmt.Fprintf(a.out, "  %s\n", note)
	}
	for _, c := range o.Conflicts {
		fmt.Fprintf(a.out, "  conflict: %s\n", c)
	}
	for _, w := range u.Warnings {
		fmt.Fprintf(a.err, "warning: %s\n", w)
	}
	if f.dryRun {
		fmt.Fprintln(a.out, "nothing was written")
	}
	return nil
}
