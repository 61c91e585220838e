package ethernet

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Trunk joins two switches into one segment that can be parted: its two ports are
// as faulty as any other.
type Trunk struct {
	A, B *Port

	cancel context.CancelFunc
	done   sync.WaitGroup
}

// NewTrunk joins a and b; on each the port is named for the other switch. Two
// ways between a pair of switches are a loop, and frames in a loop never end.
func NewTrunk(a, b *Switch) (*Trunk, error) {
	if a == b {
		return nil, fmt.Errorf("trunk: switch %s to itself", a.name)
	}
	atA, err := a.Attach("trunk-" + b.name)
	if err != nil {
		return nil, fmt.Errorf("trunk: %w", err)
	}
	atB, err := b.Attach("trunk-" + a.name)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("trunk: %w", err), atA.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	t := &Trunk{A: atA, B: atB, cancel: cancel}
	t.done.Go(func() { relay(ctx, atA, atB) })
	t.done.Go(func() { relay(ctx, atB, atA) })
	return t, nil
}

// relay sends at to what arrives at from, until either is closed.
func relay(ctx context.Context, from, to *Port) {
	for {
		f, err := from.next(ctx)
		if err != nil {
			return
		}
		to.send(f)
	}
}

// Close parts the switches and returns when nothing moves between them.
func (t *Trunk) Close() error {
	t.cancel()
	t.done.Wait()
	return errors.Join(t.A.Close(), t.B.Close())
}
