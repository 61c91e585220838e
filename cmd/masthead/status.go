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
	if err := w.Flush(); err != nil {
		return err
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
