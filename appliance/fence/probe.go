package fence

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"masthead/appliance/failover"
	"masthead/node/wire"
)

var errOvertaken = errors.New("the device is needed for a fencing")

// probing asks the device for its status again and again. The first time is soon, the others are spread, so that heads
// that were started together do not ask one controller together for ever.
func (s *step) probing(ctx context.Context) {
	every := s.f.c.ProbeEvery
	next := time.NewTimer(rand.N(every/6 + 1))
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		s.probe(ctx)
		next.Reset(every*9/10 + rand.N(every/5+1))
	}
}

// probe asks once, and remembers and tells what it found. It gives way to a fencing.
func (s *step) probe(caller context.Context) {
	ctx, cancel := context.WithTimeoutCause(caller, s.timeout, errTimeout)
	defer cancel()
	ctx, overtake := context.WithCancelCause(ctx)
	defer overtake(nil)
	s.mu.Lock()
	defer context.AfterFunc(s.probes, func() { overtake(errOvertaken) })()
	s.mu.Unlock()
	// In this order: a fencing that begins is either seen here, or sees s.probes.
	if s.f.Fencing(s.head).State == failover.FenceRunning {
		return
	}
	running, err := s.use(ctx, on)
	switch {
	case err == nil && running:
		s.says("on")
	case err == nil:
		s.says("off")
	case errors.Is(context.Cause(ctx), errOvertaken), errors.Is(caller.Err(), context.Canceled):
		// It was not the device's fault.
	case s.failed(err):
		s.f.event(fmt.Sprintf("fence device %s for %s fails: %s", s.device.Name, s.head, oneLine(err)), true)
	}
}

// endProbes ends the probes under way: a fencing waits for nobody.
func (s *step) endProbes() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.overtake()
	s.probes, s.overtake = context.WithCancel(context.Background())
}

// says remembers an answer.
func (s *step) says(power string) {
	s.mu.Lock()
	s.state.Power, s.state.Checked, s.state.Trouble = power, time.Now(), ""
	again := s.failing
	s.failing = false
	s.mu.Unlock()
	if again {
		s.f.event(fmt.Sprintf("fence device %s for %s answers again: %s", s.device.Name, s.head, power), false)
	}
}

// failed remembers that there was none, and reports whether that is new.
func (s *step) failed(err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Power, s.state.Checked, s.state.Trouble = "unknown", time.Now(), oneLine(err)
	known := s.failing
	s.failing = true
	return !known
}

func (s *step) now() wire.FenceState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Test asks all devices of head for their status now, and no more than that; without a head, those of all. It returns
// when all have answered or had their time, or a little after ctx has ended: then they have failed.
func (f *Fencer) Test(ctx context.Context, head string) []wire.FenceState {
	var wg sync.WaitGroup
	var asked []*step
	for s := range f.steps() {
		if head != "" && s.head != head {
			continue
		}
		asked = append(asked, s)
		if !s.manual() {
			wg.Go(func() { s.probe(ctx) })
		}
	}
	wg.Wait()
	var out []wire.FenceState
	for _, s := range asked {
		out = append(out, s.now())
	}
	return out
}

func oneLine(err error) string {
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}
