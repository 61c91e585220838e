package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"masthead/node/wire"
)

// watchEvery is how often the live status is drawn.
const watchEvery = time.Second

func (a *app) statusCommand() *cobra.Command {
	var why, watch bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show the cluster on one page", Args: exactArgs(0),
		Long: "Shows the cluster on one page: who owns it, members and links, services, fences, heads, images, nodes, the last events.\n\n" +
			"With --why it explains where the head that answers stands, what speaks for its next step and what holds it up.",
		Example: "  masthead status\n  masthead status -w\n  masthead status --why",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			show := a.showStatus
			if why {
				show = a.showWhy
			}
			if !watch {
				return show(cmd.Context(), c)
			}
			return a.watchStatus(cmd.Context(), c, show)
		},
	}
	cmd.Flags().BoolVar(&why, "why", false, "explain why this head owns, waits, or is blocked")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on, drawn anew each second, until Ctrl-C")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) showStatus(ctx context.Context, c *wire.Client) error {
	status, err := c.Status(ctx)
	if err != nil {
		return err
	}
	if a.output == "json" {
		return a.printJSON(status)
	}
	return a.printStatus(status)
}

func (a *app) showWhy(ctx context.Context, c *wire.Client) error {
	owner, err := c.Owner(ctx)
	if err != nil {
		return err
	}
	if a.output == "json" {
		return a.printJSON(owner.Why)
	}
	return a.printWhy(owner)
}

// watchStatus shows it again and again. A head that does not answer is what one looks for, so it goes on.
func (a *app) watchStatus(ctx context.Context, c *wire.Client, show func(context.Context, *wire.Client) error) error {
	for {
		if terminal(a.out) && a.output != "json" {
			fmt.Fprint(a.out, "\x1b[H\x1b[2J") // home, and clear
		}
		if err := show(ctx, c); err != nil && ctx.Err() == nil {
			fmt.Fprintf(a.out, "the head does not answer: %v\n", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchEvery):
		}
	}
}

// statusEvents is how many of the last events the page has room for.
const statusEvents = 6

func (a *app) printStatus(s wire.Status) error {
	if s.Owner != nil {
		if err := a.printOwner(*s.Owner); err != nil {
			return err
		}
		fmt.Fprintln(a.out)
	}
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "head\t%s, masthead %s, up %s\naddress\t%s\ndhcp\t%s\nCA\t%s\n",
		s.Name, s.Version, time.Since(s.Started).Round(time.Second), orDash(s.Address), s.DHCP, s.CA)
	if s.ReadOnly != "" {
		fmt.Fprintf(w, "STATE\tread-only: %s\n", s.ReadOnly)
	}
	if s.Degraded != "" {
		fmt.Fprintf(w, "STATE\tdegraded: %s\n", s.Degraded)
	}
	for _, text := range s.Trouble {
		fmt.Fprintf(w, "TROUBLE\t%s\n", text)
	}
	for _, f := range s.Fetching {
		fmt.Fprintf(w, "fetching\t%s\n", fetchingText(f))
	}
	for _, f := range s.Files {
		fmt.Fprintf(w, "file differs\t%s: masthead file diff %s\n", f.Path, f.Path)
	}
	if s.Aside.Files > 0 {
		fmt.Fprintf(w, "set aside\t%d files, %.1f MB: masthead image old\n", s.Aside.Files, float64(s.Aside.Bytes)/1e6)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(s.Heads) > 1 {
		fmt.Fprintln(a.out)
		if err := a.printHeads(s.Heads, false); err != nil {
			return err
		}
	}
	fmt.Fprintln(a.out)
	if err := a.printImages(s.Images); err != nil {
		return err
	}
	fmt.Fprintln(a.out)
	if err := a.printNodes(s.Nodes); err != nil {
		return err
	}
	if len(s.Events) > 0 {
		fmt.Fprintln(a.out)
	}
	for _, e := range s.Events[max(0, len(s.Events)-statusEvents):] {
		who := e.Node
		if who == "" {
			who = e.MAC
		}
		fmt.Fprintf(a.out, "%s  %-8s %-7s %s\n", e.Time.Local().Format("15:04:05"), who, e.Kind, e.Text)
	}
	return nil
}

// fetchingText says how far an image is on its way to a head.
func fetchingText(f wire.Fetching) string {
	text := fmt.Sprintf("%s: %.0f of %.0f MB", f.Tag, float64(f.Done)/1e6, float64(f.Total)/1e6)
	if f.Total == 0 {
		text = f.Tag + ": begins"
	}
	if f.Waits != "" {
		text += ", waits: " + f.Waits
	}
	return text
}
