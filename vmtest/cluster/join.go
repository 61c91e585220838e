package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"masthead/images"
	"masthead/node/wire"
)

// joinFile is where a head of the lab finds its join token: QEMU hands it over when the machine is switched on.
func joinFile(folder, head string) string { return filepath.Join(folder, "join-"+head+".oem") }

func writeJoin(folder, head, token string) error {
	text := "masthead.credential." + images.CredentialJoin + "=" + token
	if err := os.WriteFile(joinFile(folder, head), []byte(text), 0o600); err != nil {
		return fmt.Errorf("prepare head %s: %w", head, err)
	}
	return nil
}

// Join switches a head on, with a token to join the cluster of another one, and waits until that one sees it alive and
// with the same state. A head that kept its state from an earlier run is a member already; it ignores the token.
func (c *Cluster) Join(ctx context.Context, through *wire.Client, name string) error {
	token, err := through.HeadToken(ctx)
	if err != nil {
		return fmt.Errorf("join head %s: %w", name, err)
	}
	if err := writeJoin(c.secrets, name, token.Token); err != nil {
		return err
	}
	if err := c.PowerOn(ctx, name); err != nil {
		return err
	}
	return c.AwaitMember(ctx, through, name)
}

// AwaitMember waits until a head sees another one alive and with the same state as its own.
func (c *Cluster) AwaitMember(ctx context.Context, through *wire.Client, name string) error {
	m := c.Machine(name)
	if m == nil {
		return fmt.Errorf("no machine %s in the lab", name)
	}
	for {
		heads, err := through.Heads(ctx)
		var p *wire.ProblemError
		if errors.As(err, &p) && p.Status < http.StatusInternalServerError {
			return err
		}
		if err == nil {
			err = errors.New("it is not a head of the cluster yet")
		}
		for _, h := range heads {
			switch {
			case h.Name != name:
			case h.Alive && h.Equal:
				return nil
			default:
				err = fmt.Errorf("alive %t, same state %t: %s", h.Alive, h.Equal, h.Reason)
			}
		}
		if e := pause(ctx, m, err); e != nil {
			return fmt.Errorf("head %s: %w", name, e)
		}
	}
}
