package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"masthead/node/wire"
)

func (a *app) dataVerifyCommand() *cobra.Command {
	var dry, background bool
	cmd := &cobra.Command{
		Use: "verify [VOLUME]", Short: "Compare the two copies block by block while they are in use", Args: rangeArgs(0, 1),
		Long: "Compares the two copies of a volume block by block, while they are in use, and waits for the result.\n" +
			"Exit code 1: they differ.",
		Example: "  masthead data verify\n  masthead data verify db --background",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			before, err := c.Data(cmd.Context())
			if err != nil {
				return err
			}
			volume, err := a.changeData(cmd.Context(), args, wire.DataChange{Action: "verify", DryRun: dry})
			if err != nil || dry || background {
				return err
			}
			return a.awaitVerified(cmd.Context(), c.Data, comparison{volume, before})
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what would be done, and do nothing")
	cmd.Flags().BoolVar(&background, "background", false, "do not wait for the result: masthead data status shows it")
	return cmd
}

// comparison is one of the copies of a volume, block by block, that began after the heads had said before.
type comparison struct {
	volume string
	before []wire.DataVolume
}

// stage is how far a comparison is. What one head says of it comes before what another says, if it is greater.
type stage uint8

const (
	unseen   stage = iota // no head says that it runs, or has ended
	parted                // the copies have lost one another
	compared              // a head has seen the end of it
	compares              // it runs
)

// stage is what the heads say of it now, and the copy that says it: of those that were compared the one with the most differences.
// Clocks of heads are not compared with that of this machine. Pure.
func (c comparison) stage(all []wire.DataVolume) (now stage, by wire.DataVolume) {
	take := func(s stage, v wire.DataVolume) {
		if s > now || s == compared && now == s && v.Differences > by.Differences {
			now, by = s, v
		}
	}
	for _, v := range all {
		switch {
		case v.Name != c.volume:
		case strings.HasPrefix(v.Replication, "Verify"):
			take(compares, v)
		case !v.Verified.IsZero() && !v.Verified.Equal(c.verified(v.Head)):
			take(compared, v)
		case v.Connection != "" && v.Connection != "Connected":
			take(parted, v)
		case now == unseen && v.Trouble != "":
			by = v
		}
	}
	return now, by
}

// verified is when a head had compared its copy last, before.
func (c comparison) verified(head string) time.Time {
	for _, v := range c.before {
		if v.Name == c.volume && v.Head == head {
			return v.Verified
		}
	}
	return time.Time{}
}

// awaitVerified looks on while the copies of a volume are compared, and gives what came of it. Heads that do not answer for a
// moment go on comparing.
func (a *app) awaitVerified(ctx context.Context, look func(context.Context) ([]wire.DataVolume, error), c comparison) error {
	show, began := terminal(a.out), time.Now()
	shown, heard := time.Time{}, began
	for {
		all, err := look(ctx)
		now, by := c.stage(all)
		switch {
		case ctx.Err() != nil:
			return &hint{errors.New("stopped looking on; the comparison goes on by itself"), "masthead data status"}
		case now == compares:
			heard = time.Now()
			if show {
				fmt.Fprintf(a.out, "%s    \r", progressOf(by))
			} else if time.Since(shown) > verifyShown {
				shown = heard
				fmt.Fprintln(a.out, progressOf(by))
			}
		case now == parted:
			return &hint{fmt.Errorf("the copies of %s are not connected any more: %s", c.volume, by.Connection), "masthead data status"}
		case now == compared && by.Differences > 0:
			return &hint{fmt.Errorf("the copies of %s differ in %s", c.volume, bytesText(by.Differences)), "masthead data status"}
		case now == compared:
			fmt.Fprintf(a.out, "%s: %s compared in %.1f s, no differences\n", c.volume, bytesText(by.Size), time.Since(began).Seconds())
			return nil
		case time.Since(heard) <= dataLost:
		case err != nil:
			return &hint{fmt.Errorf("what came of the comparison is not known: %w", err), "masthead data status"}
		case by.Trouble != "":
			return &hint{fmt.Errorf("what came of the comparison is not known: %s: %s", by.Head, by.Trouble), "masthead data status"}
		default:
			return &hint{fmt.Errorf("the comparison of %s has ended without a result", c.volume), "masthead data verify " + c.volume}
		}
		select {
		case <-ctx.Done():
		case <-time.After(dataLook):
		}
	}
}

// verifyShown is the time between two lines about a comparison where nobody looks on.
const verifyShown = 10 * time.Second
