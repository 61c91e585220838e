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
// outputs. input may be nil. Its end is waited for no longer than within: what it does may be the end of the node. A node whose
// command channel is not there, as in the middle of a boot, has done nothing, and is asked again for reachWithin.
func Shell(ctx context.Context, head *wire.Client, node, line string, input io.Reader, within time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for began := time.Now(); ; {
		said, absent, err := shellOnce(ctx, head, node, line, input, within)
		if err != nil && absent && input == nil && time.Since(began) < reachWithin {
			select {
			case <-time.After(time.Second):
				continue
			case <-ctx.Done():
			}
		}
		if err != nil {
			return said, fmt.Errorf("on %s: %s: %w", node, line, err)
		}
		return said, nil
	}
}

// reachWithin is how long a node of which its head has heard may have no command channel.
const reachWithin = time.Minute

func shellOnce(ctx context.Context, head *wire.Client, node, line string, input io.Reader, within time.Duration) (said string, absent bool, err error) {
	var out strings.Builder
	req := wire.CommandRequest{Nodes: node, Command: wire.Command{
		Kind: wire.CommandExec, Shell: line, Timeout: within.Seconds(), Output: wire.DefaultCommandOutput,
	}}
	err = head.Command(ctx, req, input, func(e wire.CommandEvent) error {
		absent = absent || e.Plan != nil && len(e.Plan.Absent) > 0
		out.Write(e.Stdout)
		out.Write(e.Stderr)
		if e.Done != nil && e.Done.Failed() {
			return fmt.Errorf("exit %d %s: %s", e.Done.Exit, e.Done.Error, out.String())
		}
		return nil
	})
	return out.String(), absent, err
}
