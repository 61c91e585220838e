package main

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"masthead/node/wire"
)

func (a *app) statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "status", Short: "Show the cluster on one page", Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			status, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(status)
			}
			return a.printStatus(status)
		},
	}
	a.outputFlag(cmd)
	return cmd
}

// statusEvents is how many of the last events the page has room for.
const statusEvents = 6

func (a *app) printStatus(s wire.Status) error {
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
