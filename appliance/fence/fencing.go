package fence

import (
	"context"
	"errors"
	"fmt"

	"masthead/appliance/failover"
)

// fencingRun is one fencing. Its fields are under Fencer.mu.
type fencingRun struct {
	callOff   context.CancelCauseFunc
	calledOff bool // nothing further begins; what a device has begun it ends
	again     bool // and was wanted again since
}

// start is Start; called with Fencer.mu held.
func (f *Fencer) start(head string) {
	t := f.heads[head]
	if t == nil || len(t.levels) == 0 || f.ended {
		return
	}
	if t.run != nil {
		if t.run.calledOff {
			t.run.again = true
			t.set(failover.FenceRunning, f.c.Now(), "an earlier order to a device is still under way")
		}
		return
	}
	wanted, callOff := context.WithCancelCause(f.ctx)
	t.run = &fencingRun{callOff: callOff}
	t.fencing.Target = head
	t.set(failover.FenceRunning, f.c.Now(), "level 1: "+names(t.levels[0]))
	f.c.Log.Info("fencing", "head", head)
	f.wg.Go(func() {
		defer callOff(nil)
		f.fence(wanted, head, t)
	})
}

// fence tries the levels in order, while it is wanted.
func (f *Fencer) fence(wanted context.Context, head string, t *target) {
	var faults []error
	for l, level := range t.levels {
		f.progress(t, fmt.Sprintf("level %d: %s", l+1, names(level)))
		err := f.level(wanted, level)
		if err == nil {
			f.endRun(head, t, failover.FenceProof, fmt.Sprintf("level %d: %s: off, and its status says off", l+1, names(level)))
			if context.Cause(wanted) == errCalledOff {
				f.event(fmt.Sprintf("%s is off: %s had the order when its fencing was called off", head, names(level)), true)
			}
			return
		}
		if f.ctx.Err() != nil || errors.Is(err, context.Cause(wanted)) {
			faults = append(faults, context.Cause(wanted))
			break
		}
		err = fmt.Errorf("level %d: %w", l+1, err)
		faults = append(faults, err)
		f.event(fmt.Sprintf("fencing %s: %v", head, err), true)
		if wanted.Err() != nil {
			break
		}
	}
	f.endRun(head, t, failover.FenceFailed, oneLine(errors.Join(faults...)))
}

// level is done when all its steps have their proof. They are done in order, as cluster.conf's are: the first that fails
// is the end of it.
func (f *Fencer) level(wanted context.Context, steps []*step) error {
	for _, s := range steps {
		if err := s.prove(f.ctx, wanted); err != nil {
			return fmt.Errorf("%s: %w", s.device.Name, err)
		}
	}
	return nil
}

// progress says how far the fencing under way is.
func (f *Fencer) progress(t *target, detail string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !t.run.calledOff {
		t.set(failover.FenceRunning, f.c.Now(), detail)
	}
}

// endRun ends the fencing under way. One that was called off has failed for nobody; its proof is one all the same.
func (f *Fencer) endRun(head string, t *target, state failover.FencingState, detail string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	run := t.run
	t.run = nil
	f.c.Log.Info("fencing ended", "head", head, "proof", state == failover.FenceProof, "called off", run.calledOff, "detail", detail)
	switch {
	case !run.calledOff || state == failover.FenceProof:
		t.set(state, f.c.Now(), detail)
	case run.again:
		f.start(head)
	case t.fencing.State == failover.FenceRunning:
		t.fencing.Target = ""
		t.set(failover.FenceIdle, f.c.Now(), "")
	}
}

// callOff has nothing further of the fencing under way begin; called with Fencer.mu held.
func (t *target) callOff(why error) {
	t.run.calledOff, t.run.again = true, false
	t.run.callOff(why)
}

var (
	errCalledOff = errors.New("it was called off")
	errConfirmed = errors.New("a person confirmed it")
)
