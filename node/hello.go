package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"masthead/images"
	"masthead/node/wire"
)

// helloRetry bounds the pause between two rounds over all heads: a head that restarts is found again soon, and five
// thousand machines that lost theirs do not hammer the one that comes back.
const (
	helloRetryFirst = time.Second
	helloRetryMost  = 15 * time.Second
)

// clockSlack is the difference to the head's clock that is left alone: it is in the order of a slow answer.
const clockSlack = 2 * time.Second

// greeter asks the heads, in turn, what this machine is to run.
type greeter struct {
	heads []string // https URLs
	ca    images.Digest
	hello wire.Hello
	log   *slog.Logger
	// ask is one request to one head; nil is the real one.
	ask func(ctx context.Context, head string) (wire.Spec, error)
}

// errNoHead is a machine that was told of no head.
var errNoHead = errors.New("the kernel command line names no head")

// run blocks until a head gives a verdict other than wait, or ctx ends. Heads that do not answer are asked again for
// ever: a machine that waits for its head comes up by itself once the head does.
func (g *greeter) run(ctx context.Context) (spec wire.Spec, head string, err error) {
	if len(g.heads) == 0 {
		return spec, "", errNoHead
	}
	ask := g.ask
	if ask == nil {
		ask = func(ctx context.Context, head string) (wire.Spec, error) {
			c := wire.NewClient(head, g.ca, "")
			defer c.Close()
			return c.Hello(ctx, g.hello)
		}
	}
	pause, said := helloRetryFirst, ""
	for {
		for _, head := range g.heads {
			spec, err = ask(ctx, head)
			if err != nil {
				g.log.Warn("head does not answer", "head", head, "err", err)
				continue
			}
			switch spec.Verdict {
			case wire.VerdictBoot:
				return spec, head, nil
			case wire.VerdictRefused:
				return spec, head, &refusal{head, spec}
			}
			if spec.Reason != said { // once, not at every round
				g.log.Info("waiting", "reason", spec.Reason, "try", spec.Try)
				said = spec.Reason
			}
			pause = max(helloRetryFirst, time.Duration(spec.RetryAfter*float64(time.Second)))
		}
		select {
		case <-ctx.Done():
			return spec, "", errors.Join(ctx.Err(), err)
		case <-time.After(pause):
		}
		if err != nil {
			pause = min(2*pause, helloRetryMost)
		}
	}
}

// refusal is a head that will not let this machine run.
type refusal struct {
	head string
	spec wire.Spec
}

func (r *refusal) Error() string {
	return fmt.Sprintf("the head at %s refuses this machine: %s", r.head, r.spec.Reason)
}

func (r *refusal) Try() string { return r.spec.Try }

// setClock moves the system clock to the head's where they differ, so that certificates, logs and make see one time
// from the first file on.
func setClock(head time.Time, now time.Time) (moved time.Duration, err error) {
	if head.IsZero() || head.Sub(now).Abs() < clockSlack {
		return 0, nil
	}
	tv := unix.NsecToTimeval(head.UnixNano())
	if err := unix.Settimeofday(&tv); err != nil {
		return 0, fmt.Errorf("set the clock to the head's: %w", err)
	}
	return head.Sub(now), nil
}
