package fence

import (
	"context"
	"errors"
	"fmt"
	"time"
)

var errTimeout = errors.New("its time was up")

const (
	// askFirst is when the status is asked for the first time after the order; then after twice as long each time, until
	// askLast. A virtual machine stands at once, a server's supply takes seconds.
	askFirst = 25 * time.Millisecond
	askLast  = time.Second
)

// prove orders the machine off and waits until the device's status says so. nil is the proof. Where wanted has ended the
// order is not given; one that was given, and the waiting for its proof, end with ctx or the step's time alone.
func (s *step) prove(ctx, wanted context.Context) error {
	if wanted.Err() != nil {
		return context.Cause(wanted)
	}
	s.endProbes()
	if s.manual() {
		// Only Confirm ends this well, and it ends wanted.
		s.f.event(fmt.Sprintf("%s must be switched off by a person: switch it off, then: masthead fence confirm-dead %s", s.head, s.head), true)
		<-wanted.Done()
		return context.Cause(wanted)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.timeout, errTimeout)
	defer cancel()
	begun := false
	_, err := s.use(ctx, func(ctx context.Context, d driver) (bool, error) {
		if wanted.Err() != nil {
			return false, nil
		}
		begun = true
		return false, d.Off(ctx)
	})
	if err == nil && !begun {
		return context.Cause(wanted)
	}
	if err != nil {
		s.failed(err) // it is told with its level
		return err
	}
	if err := s.waitOff(ctx); err != nil {
		s.failed(err)
		return err
	}
	s.says("off")
	s.finish(ctx)
	return nil
}

// waitOff asks for the status until it says off. An answer that is missing is asked for again; only time ends it.
func (s *step) waitOff(ctx context.Context) error {
	last := errors.New("the status was not told")
	for wait := askFirst; ; wait = min(2*wait, askLast) {
		on, err := s.use(ctx, on)
		switch {
		case ctx.Err() != nil: // a timeout is a failure, whatever comes late
			return fmt.Errorf("the order off was taken, but there is no proof: %w (%w)", last, context.Cause(ctx))
		case err == nil && !on:
			return nil
		case err != nil:
			last = err
		default:
			last = errors.New("the status still says on")
		}
		again := time.NewTimer(wait)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
		}
	}
}

// finish is what follows a proof; failing, it takes nothing from the proof.
func (s *step) finish(ctx context.Context) {
	_, err := s.use(ctx, func(ctx context.Context, d driver) (bool, error) {
		if last, has := d.(finisher); has {
			return false, last.Finish(ctx)
		}
		return false, nil
	})
	if err != nil {
		s.f.event(fmt.Sprintf("%s is off, as %s proved, but what follows failed: %v", s.head, s.device.Name, err), true)
	}
}
