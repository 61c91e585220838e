package cluster

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"masthead/node/wire"
)

// Shell runs a line in the shell of a node, as root, through one of the heads, and gives what it printed on both of its
// outputs. input may be nil. Its end is waited for no longer than within: what it does may be the end of the node.
func Shell(ctx context.Context, head *wire.Client, node, line string, input io.Reader, within time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var out strings.Builder
	req := wire.CommandRequest{Nodes: node, Command: wire.Command{
		Kind: wire.CommandExec, Shell: line, Timeout: within.Seconds(), Output: wire.DefaultCommandOutput,
	}}
	err := head.Command(ctx, req, input, func(e wire.CommandEvent) error {
		out.Write(e.Stdout)
		out.Write(e.Stderr)
		if e.Done != nil && e.Done.Failed() {
			return fmt.Errorf("exit %d %s: %s", e.Done.Exit, e.Done.Error, out.String())
		}
		return nil
	})
	if err != nil {
		return out.String(), fmt.Errorf("on %s: %s: %w", node, line, err)
	}
	return out.String(), nil
}
