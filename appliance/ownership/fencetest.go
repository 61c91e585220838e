package ownership

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"masthead/node/wire"
)

// fenceTest is a test of a head's fence devices. It goes on while nobody waits for it: a device may take longer than a
// client waits for an answer, and a test that is cut short would make a slow device one that fails.
type fenceTest struct {
	began time.Time
	done  chan struct{}
	all   []wire.FenceState // once done is closed
}

// serveFence tests the devices of a head, or waits for the test that is under way. After fenceWait it tells what is known by
// then, and which devices are still being asked.
func (d *Daemon) serveFence(r *http.Request) (any, error) {
	head := r.PathValue("head")
	var test *fenceTest
	var states func() []wire.FenceState
	var refused error
	err := d.do(r.Context(), func() {
		f := d.parts.fencer
		switch {
		case !d.configured():
			refused = notConfigured()
		case !f.made || !f.it.Possible(head):
			refused = &problem{http.StatusNotFound, fmt.Sprintf("no fence device is configured for %q", head), "masthead cluster edit"}
		default:
			test = d.serving.test(head, f.it.Test)
			states = f.it.States
		}
	})
	if err = errors.Join(err, refused); err != nil {
		return nil, err
	}
	wait := time.NewTimer(fenceWait)
	defer wait.Stop()
	select {
	case <-test.done:
		return test.all, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	case <-wait.C:
		return unfinished(states(), head, test.began), nil
	}
}

// test begins a test in a goroutine of the server's, unless one is under way.
func (s *serving) test(head string, run func(context.Context, string) []wire.FenceState) *fenceTest {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tests[head]; t != nil {
		return t
	}
	t := &fenceTest{began: time.Now(), done: make(chan struct{})}
	s.tests[head] = t
	s.all.Go(func() {
		t.all = run(s.ctx, head)
		s.mu.Lock()
		delete(s.tests, head)
		s.mu.Unlock()
		close(t.done)
	})
	return t
}

// unfinished are the devices of a head, those marked that have not answered since a test began. Pure.
func unfinished(all []wire.FenceState, head string, began time.Time) []wire.FenceState {
	var own []wire.FenceState
	for _, f := range all {
		if f.Head != head {
			continue
		}
		f.Asking = f.Checked.Before(began) && f.Agent != "manual" // which nobody asks
		own = append(own, f)
	}
	return own
}
