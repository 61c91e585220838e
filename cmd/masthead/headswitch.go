package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"masthead/appliance/failover"
	"masthead/node/wire"
)

func (a *app) headSwitchCommand() *cobra.Command {
	var req wire.SwitchRequest
	cmd := &cobra.Command{
		Use: "switch", Short: "Hand over the cluster to another head, as planned", Args: exactArgs(0),
		Long: "Has the owner hand over the virtual addresses, the data and all services to another head: the gate is shut, the\n" +
			"services stop in reverse order, and the other head starts them. It can be typed on any head.",
		Example: "  masthead head switch --dry-run\n  masthead head switch --to head2",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			answer, err := c.Switch(cmd.Context(), req)
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(answer)
			}
			return a.saySwitch(cmd.Context(), c, answer, req.DryRun)
		},
	}
	cmd.Flags().StringVar(&req.To, "to", "", "the head that is to own (default: the other one)")
	_ = cmd.RegisterFlagCompletionFunc("to", a.completeHeads)
	cmd.Flags().StringVar(&req.Why, "why", "", "for the log")
	cmd.Flags().BoolVar(&req.DryRun, "dry-run", false, "say what would move, and change nothing")
	a.outputFlag(cmd)
	return cmd
}

// switchPatience is how long a switch that was begun is waited for: services take their time to stop.
const switchPatience = 5 * time.Minute

// saySwitch tells how a switch went, and waits for one that is not done yet.
func (a *app) saySwitch(ctx context.Context, c *wire.Client, s wire.SwitchAnswer, dryRun bool) error {
	if dryRun {
		fmt.Fprintf(a.out, "would move from %s to %s: %s\n", s.From, s.To, orDash(strings.Join(s.Moves, ", ")))
		return nil
	}
	if s.Running {
		fmt.Fprintf(a.err, "%s stops its services; waits for %s\n", s.From, s.To)
		until := time.Now().Add(switchPatience)
		for s.Running {
			if ctx.Err() != nil || time.Now().After(until) {
				return &hint{errors.New("the switch is not done yet"), "masthead status --why"}
			}
			now, err := c.Owner(ctx)
			if err == nil && now.Owner == s.To {
				s.Running, s.Epoch = false, now.Epoch
				break
			}
			if err == nil && now.Owner != "" && now.Owner != s.From {
				return &hint{fmt.Errorf("%s owns the cluster, not %s", now.Owner, s.To), "masthead status --why"}
			}
			select {
			case <-ctx.Done():
			case <-time.After(watchEvery):
			}
		}
		fmt.Fprintf(a.out, "%s owns the cluster, epoch %s\n", s.To, s.Epoch)
		return nil
	}
	fmt.Fprintf(a.out, "%s owns the cluster, epoch %s, after %.0f ms\n", s.To, s.Epoch, s.Seconds*1000)
	return nil
}

func (a *app) promoteCommand() *cobra.Command {
	var req wire.PromoteRequest
	var yes bool
	cmd := &cobra.Command{
		Use: "promote", Short: "Make this head the owner, though nobody vouches that the other one is off", Args: exactArgs(0),
		Long: "Makes the head that is asked the owner of the cluster, on your word. If the other head runs and owns it as well, both\n" +
			"answer for the same addresses, and what is written on one of them is lost. Look at the other machine first.\n\n" +
			"With --force also where this head's data is not up to date: what the other one wrote since is lost.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			now, err := c.Owner(cmd.Context())
			if err != nil {
				return err
			}
			if now.Owner == now.Self {
				return &hint{fmt.Errorf("%s owns the cluster already, epoch %s", now.Self, now.Epoch), "masthead status"}
			}
			try := "masthead promote --yes"
			if req.Force {
				try = "masthead promote --force --yes"
			}
			ask := fmt.Sprintf("Type the name of the head that becomes the owner, %s, to go on: ", now.Self)
			if err := a.confirmName(ask, now.Self, yes, try); err != nil {
				return err
			}
			s, err := c.Promote(cmd.Context(), req)
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(s)
			}
			text := ""
			if s.Why.Phase == failover.Promote.String() {
				text = "; its services are being started: masthead status"
			}
			fmt.Fprintf(a.out, "%s owns the cluster, epoch %s%s\n", s.Self, s.Epoch, text)
			return nil
		},
	}
	cmd.Flags().BoolVar(&req.Force, "force", false, "also with data that is older or diverged")
	cmd.Flags().BoolVar(&yes, "yes", false, "do it without asking")
	a.outputFlag(cmd)
	return cmd
}

// confirmName has a person type a name before something that cannot be taken back.
func (a *app) confirmName(ask, name string, yes bool, try string) error {
	if yes {
		return nil
	}
	if !terminalIn(a.in) {
		return &hint{errors.New("nobody is there to confirm it"), try}
	}
	typed, err := a.askLine(ask)
	if err != nil {
		return err
	}
	if typed != name {
		return &hint{fmt.Errorf("%q is not %s: nothing was changed", typed, name), try}
	}
	return nil
}
