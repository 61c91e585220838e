package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"masthead/node/wire"
)

// clientKeys is how many attributes the lab's client writes in turn; clientPace is the time between two writes.
const (
	clientKeys   = 50
	clientPace   = 100 * time.Millisecond
	clientAnswer = time.Second // for one write: who waits longer counts it as lost
)

// labClientCommand is a client of the cluster that writes through its virtual address, for `lab up --takeover`: it runs on
// a worker, and says of each write whether it was acknowledged.
func (a *app) labClientCommand() *cobra.Command {
	return &cobra.Command{
		Use: "client NODE", Short: "Write attributes of a node, again and again, until a signal", Args: exactArgs(1), Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			return a.labClient(cmd.Context(), c, args[0])
		},
	}
}

// labClient prints a line for each write: its time in seconds, its number, and ok or why it was lost.
func (a *app) labClient(ctx context.Context, c *wire.Client, node string) error {
	began := time.Now()
	for n := 0; ctx.Err() == nil; n++ {
		attempt, cancel := context.WithTimeout(ctx, clientAnswer)
		_, err := c.ChangeNode(attempt, node, wire.NodeChange{Attrs: map[string]string{clientKey(n): strconv.Itoa(n)}})
		cancel()
		word := "ok"
		if err != nil {
			word = fmt.Sprintf("lost: %v", err)
			c.Close() // the connection was to a head that may be dead
		}
		if _, err := fmt.Fprintf(a.out, "%.3f %d %s\n", time.Since(began).Seconds(), n, word); err != nil {
			return fmt.Errorf("tell of a write: %w", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(clientPace):
		}
	}
	return nil
}

// clientKey is the attribute of the nth write.
func clientKey(n int) string { return fmt.Sprintf("lab-%02d", n%clientKeys) }
