package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

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
	return a.printStatus(status, time.Now())
}

func (a *app) showWhy(ctx context.Context, c *wire.Client) error {
	owner, err := c.Owner(ctx)
	if err != nil {
		return err
	}
	if a.output == "json" {
		return a.printJSON(owner.Why)
	}
	a.printWhy(owner, time.Now())
	return nil
}

// watchStatus shows it again and again. A head that does not answer is what one looks for, so it goes on.
func (a *app) watchStatus(ctx context.Context, c *wire.Client, show func(context.Context, *wire.Client) error) error {
	screen := a.out
	defer func() { a.out = screen }()
	for {
		var page bytes.Buffer
		a.out = &page
		if err := show(ctx, c); err != nil {
			fmt.Fprintf(&page, "the head does not answer: %v\n", err)
		}
		if ctx.Err() != nil {
			return nil
		}
		text := page.String()
		if rows, ok := screenRows(screen); ok && a.output != "json" {
			text = drawn(text, rows)
		}
		if _, err := io.WriteString(screen, text); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchEvery):
		}
	}
}

// screenRows is how many lines the screen has; false: it is none.
func screenRows(w io.Writer) (int, bool) {
	if !terminal(w) {
		return 0, false
	}
	size, err := unix.IoctlGetWinsize(int(w.(*os.File).Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Row == 0 {
		return 24, true
	}
	return int(size.Row), true
}

// drawn is a page that replaces what is on a screen, without a moment of emptiness: each line is cleared behind its text.
// What does not fit is left out at the end, so that who owns the cluster is always seen.
func drawn(page string, rows int) string {
	lines := strings.Split(strings.TrimSuffix(page, "\n"), "\n")
	if len(lines) > rows-1 {
		left := len(lines) - max(0, rows-2)
		lines = append(lines[:max(0, rows-2)], fmt.Sprintf("… %d lines more: masthead status", left))
	}
	return "\x1b[H" + strings.Join(lines, "\x1b[K\n") + "\x1b[K\n\x1b[J"
}

// statusEvents is how many of the last events the page has room for.
const statusEvents = 6

// statusNodes is how many nodes it has room for. Of more only those are listed that are not up.
const statusNodes = 20

func (a *app) printStatus(s wire.Status, now time.Time) error {
	if s.Owner != nil {
		if err := a.printOwner(*s.Owner, now); err != nil {
			return err
		}
		fmt.Fprintln(a.out)
	}
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "head\t%s, masthead %s, up %s\naddress\t%s\ndhcp\t%s\nCA\t%s\n",
		s.Name, s.Version, now.Sub(s.Started).Round(time.Second), orDash(s.Address), s.DHCP, s.CA)
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
	if len(s.Images) > 0 {
		fmt.Fprintln(a.out)
		if err := a.printImages(s.Images); err != nil {
			return err
		}
	}
	if len(s.Nodes) > 0 {
		fmt.Fprintln(a.out)
		if err := a.printStatusNodes(s.Nodes); err != nil {
			return err
		}
	}
	if len(s.Events) > 0 {
		fmt.Fprintln(a.out)
	}
	for _, e := range s.Events[max(0, len(s.Events)-statusEvents):] {
		who := e.Node
		if who == "" {
			who = e.MAC
		}
		fmt.Fprintf(a.out, "%s  %-8s %-7s %s\n", e.Time.In(now.Location()).Format("15:04:05"), who, e.Kind, e.Text)
	}
	return nil
}

func (a *app) printStatusNodes(all []wire.Node) error {
	if len(all) <= statusNodes {
		return a.printNodes(all)
	}
	rest := slices.DeleteFunc(slices.Clone(all), func(n wire.Node) bool { return n.Phase == wire.PhaseUp })
	fmt.Fprintf(a.out, "%d nodes, %d of them up: masthead node list\n", len(all), len(all)-len(rest))
	if len(rest) == 0 {
		return nil
	}
	if len(rest) > statusNodes {
		fmt.Fprintf(a.out, "the first %d of the others:\n", statusNodes)
		rest = rest[:statusNodes]
	}
	return a.printNodes(rest)
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
