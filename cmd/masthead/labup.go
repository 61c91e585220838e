package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"masthead/images"
	"masthead/node/wire"
	"masthead/vmtest/cluster"
)

// upTimeout is how long a machine may take to come up, for each. Software emulation on a busy laptop is slow.
const upTimeout = 6 * time.Minute

type labUpFlags struct {
	stay, once bool
	takeover   bool
	timeout    time.Duration
}

func (a *app) labUpCommand() *cobra.Command {
	var f labUpFlags
	cmd := &cobra.Command{
		Use:   "up LAB.yaml",
		Short: "Boot a cluster in QEMU: heads first, then the workers from them",
		Long: "Boots the machines of a lab file in QEMU, without root. On a terminal the cluster stays up until Ctrl-C;\n" +
			"elsewhere everything is taken down again once all machines are up, and the exit code says how it went.",
		Example: "  masthead build iso images/head.yaml -o out\n  masthead lab up vmtest/demo.yaml",
		Args:    exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			stay := terminal(a.out) && terminalIn(a.in)
			f.stay = (stay || f.stay) && !f.once
			return a.labUp(cmd.Context(), args[0], f)
		},
	}
	cmd.Flags().BoolVar(&f.stay, "stay", false, "leave the cluster up until a signal, also without a terminal")
	cmd.Flags().BoolVar(&f.once, "once", false, "take everything down once all machines are up, also on a terminal")
	cmd.Flags().BoolVar(&f.takeover, "takeover", false, "once all are up, pull the owner's plug while a client writes through the virtual address")
	cmd.Flags().DurationVar(&f.timeout, "timeout", upTimeout, "how long each machine may take to come up")
	cmd.MarkFlagsMutuallyExclusive("stay", "once")
	return cmd
}

func (a *app) labUp(ctx context.Context, file string, f labUpFlags) error {
	config, err := loadLab(file)
	if err != nil {
		return err
	}
	heads := 1
	if f.takeover {
		heads = 2
	}
	if err := checkLab(file, config, heads); err != nil {
		return err
	}
	dir, err := labDir(config.Name)
	if err != nil {
		return err
	}
	show := newBoard(a.out)
	c, err := cluster.Up(ctx, config, dir)
	if err != nil {
		return err
	}
	var control errgroup.Group // for lab status, console, fault and down in other terminals
	defer func() {
		forgetHead(dir)
		if err := errors.Join(c.Down(), control.Wait()); err != nil && ctx.Err() == nil {
			a.log.Warn("take the lab down", "err", err)
		}
	}()
	control.Go(func() error { return c.Serve(ctx) })
	head, err := a.bootCluster(ctx, c, show, dir, f.timeout)
	if err != nil {
		show.close()
		fmt.Fprintf(a.err, "%s\n", c.Report(ctx))
		return &hint{err, "look at the consoles in " + dir}
	}
	show.close()
	fmt.Fprintln(a.out)
	if err := a.printBoots(ctx, head, c); err != nil {
		return err
	}
	if f.takeover {
		if head, err = a.takeoverStory(ctx, c); err != nil {
			return &hint{err, "look at the consoles in " + dir}
		}
	} else if err := c.Configure(ctx, head); err != nil {
		return err
	}
	if !f.stay {
		return nil
	}
	example := c.Starting(images.RoleHead)[0]
	if workers := c.Starting(images.RoleWorker); len(workers) > 0 {
		example = workers[0]
	}
	return a.watchCluster(ctx, c.Done(), head, config.Name, sshCommand(c, dir), example)
}

// bootCluster boots the first head, then the others, which join it, then all workers at once, and gives a client of the
// first head.
func (a *app) bootCluster(ctx context.Context, c *cluster.Cluster, show *board, dir string, timeout time.Duration) (*wire.Client, error) {
	heads := c.Starting(images.RoleHead) // one at least: checkLab
	name := heads[0]
	headCtx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	show.set(name, "power", "on")
	follow, stop := context.WithCancel(headCtx)
	done := make(chan struct{})
	go func() { // ends with follow
		defer close(done)
		c.FollowConsole(follow, name, func(stage, text string) { show.set(name, stage, text) })
	}()
	head, ca, err := c.Head(headCtx, name)
	stop()
	<-done
	if err != nil {
		return nil, err
	}
	show.set(name, "api", head.Base)
	if err := rememberHeads(dir, c, head.Token, ca); err != nil {
		return nil, fmt.Errorf("leave word of the lab: %w", err)
	}
	if err := c.Follow(headCtx, head, name, "", func(s wire.StageResult) { show.stage(name, s) }); err != nil {
		return nil, err
	}
	var others errgroup.Group
	for _, other := range heads[1:] {
		others.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			show.set(other, "power", "on")
			if err := c.Join(ctx, head, other); err != nil {
				return err
			}
			show.set(other, "joined", "has the state of "+name)
			return c.Follow(ctx, head, other, "", func(s wire.StageResult) { show.stage(other, s) })
		})
	}
	// Workers want to boot from any head, so all of them are there first.
	if err := others.Wait(); err != nil {
		return nil, err
	}
	var workers errgroup.Group
	firmware := make(chan struct{}, inFirmware(runtime.NumCPU(), len(heads)))
	for _, worker := range c.Starting(images.RoleWorker) {
		workers.Go(func() error {
			firmware <- struct{}{}
			next := sync.OnceFunc(func() { <-firmware })
			defer next()
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			before := cluster.LastBoot(ctx, head, worker)
			if err := c.Register(ctx, head, worker, wire.NodeChange{}); err != nil {
				return err
			}
			show.set(worker, "power", "on")
			return c.Follow(ctx, head, worker, before, func(s wire.StageResult) {
				show.stage(worker, s)
				if s.Stage == wire.StageMounts { // the firmware's part is over
					next()
				}
			})
		})
	}
	return head, workers.Wait()
}

// inFirmware is how many workers may be in their firmware at once. It loads by TFTP and HTTP with time limits of seconds,
// which an emulated machine that has to share a processor does not keep, and then it gives up for good.
func inFirmware(processors, heads int) int { return max(1, processors-heads) }

// printBoots prints each machine's boot, stage by stage.
func (a *app) printBoots(ctx context.Context, head *wire.Client, c *cluster.Cluster) error {
	for _, name := range append(c.Starting(images.RoleHead), c.Starting(images.RoleWorker)...) {
		why, err := head.Why(ctx, name)
		if err != nil {
			return err
		}
		a.printStages(why)
		fmt.Fprintln(a.out)
	}
	return nil
}

// watchInterval is how often the live table is drawn.
const watchInterval = 2 * time.Second

// watchCluster shows the cluster until ctx ends or the lab is down, with what there is to play with.
func (a *app) watchCluster(ctx context.Context, down <-chan struct{}, head *wire.Client, lab, ssh, example string) error {
	for {
		status, err := head.Status(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if terminal(a.out) {
			fmt.Fprint(a.out, "\x1b[H\x1b[2J") // home, and clear: the table is drawn over the last one
		}
		if err != nil {
			fmt.Fprintf(a.out, "the head does not answer: %v\n", err)
		} else if err := a.printStatus(status, time.Now()); err != nil {
			return err
		}
		fmt.Fprintf(a.out, "\nIn another terminal:\n"+
			"  %[1]s --lab %[2]s node list               the nodes\n"+
			"  %[1]s --lab %[2]s node why %[4]s            how %[4]s came up\n"+
			"  %[1]s --lab %[2]s lab console %[4]s         its console (Ctrl-] leaves)\n"+
			"  %[1]s --lab %[2]s lab fault cut-link %[4]s:0\n"+
			"  %[1]s --lab %[2]s lab status              the hardware\n"+
			"%[3]sCtrl-C takes the cluster down.\n", os.Args[0], lab, ssh, example)
		var again <-chan time.Time // on a terminal the table is drawn anew
		if terminal(a.out) {
			again = time.After(watchInterval)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-down:
			return nil
		case <-again:
		}
	}
}

// sshCommand is how to log in to the first head, if its SSH port is forwarded. Host keys are made at each boot.
func sshCommand(c *cluster.Cluster, dir string) string {
	addr := c.Machine(c.Starting(images.RoleHead)[0]).Forward("ssh")
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("  ssh -i %s -p %s -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null root@%s\n",
		filepath.Join(dir, cluster.KeyFile), port, host)
}

func forgetHead(dir string) {
	for _, name := range []string{labHeadFile, labCAFile} {
		_ = os.Remove(filepath.Join(dir, name)) // one that was never written is as good as gone
	}
}
