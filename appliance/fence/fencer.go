package fence

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"masthead/appliance/failover"
	"masthead/appliance/fence/script"
	"masthead/node/wire"
)

// Fencer switches heads off.
type Fencer struct {
	c     Config
	heads map[string]*target

	ctx  context.Context // ends with Run
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu      sync.Mutex
	ended   bool
	wanted  string                      // of Want
	learned map[string]*script.Metadata // by path; nil: the program has none
}

// target is one head that can be fenced.
type target struct {
	levels [][]*step

	// Under Fencer.mu:
	fencing failover.Fencing
	run     *fencingRun // the one under way; nil: none
}

// New checks the configuration as far as that needs no program to be run. The error is of *Problem, joined.
func New(c Config) (*Fencer, error) {
	if err := structure(c); err != nil {
		return nil, err
	}
	if c.StepTimeout == 0 {
		c.StepTimeout = DefaultStepTimeout
	}
	if c.ProbeEvery == 0 {
		c.ProbeEvery = DefaultProbeEvery
	}
	if len(c.AgentDirs) == 0 {
		c.AgentDirs = DefaultAgentDirs()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		zero := time.Now()
		c.Now = func() failover.Instant { return time.Since(zero) }
	}
	f := &Fencer{c: c, heads: map[string]*target{}, learned: map[string]*script.Metadata{}}
	f.ctx, f.stop = context.WithCancel(context.Background())
	for head, levels := range c.Heads {
		t := &target{fencing: failover.Fencing{Possible: len(levels) > 0}}
		for l, steps := range levels {
			var level []*step
			for i, s := range steps {
				d := c.Devices[slices.IndexFunc(c.Devices, func(d Device) bool { return d.Name == s.Device })]
				level = append(level, f.newStep(head, l, i, d, s))
			}
			t.levels = append(t.levels, level)
		}
		f.heads[head] = t
	}
	return f, nil
}

// Run probes the devices until ctx ends, and then ends what Start began.
func (f *Fencer) Run(ctx context.Context) error {
	for s := range f.steps() {
		if !s.manual() {
			f.wg.Go(func() { s.probing(f.ctx) })
		}
	}
	<-ctx.Done()
	f.mu.Lock()
	f.ended = true
	f.mu.Unlock()
	f.stop()
	f.wg.Wait()
	return ctx.Err()
}

// Possible reports whether a device is configured for head.
func (f *Fencer) Possible(head string) bool {
	t := f.heads[head]
	return t != nil && len(t.levels) > 0
}

// Want is failover.Decision.Fence, given after each decision: the head that is to be fenced now; empty: none. A head that
// was not wanted before is fenced, once, also if it was fenced earlier; what that has given stays until then.
//
// A fencing that is not wanted any more is called off: no other device gets an order. What a device has begun it ends, and
// if that comes to a proof it counts: an order that is killed half-way may leave a head that has lost its network and runs.
func (f *Fencer) Want(head string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if head == f.wanted {
		return
	}
	if t := f.heads[f.wanted]; t != nil && t.run != nil {
		f.c.Log.Info("fencing called off", "head", f.wanted)
		t.callOff(errCalledOff)
	}
	f.wanted = head
	f.start(head)
}

// Start begins to fence head, and returns at once. One that is under way goes on, and is the only one; one that has ended,
// well or not, is done anew, and so is one that was called off, as soon as it has ended without a proof.
func (f *Fencer) Start(head string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.start(head)
}

// set changes the state; called with Fencer.mu held.
func (t *target) set(state failover.FencingState, now failover.Instant, detail string) {
	if t.fencing.State != state {
		t.fencing.Since = now
	}
	t.fencing.State, t.fencing.Detail = state, detail
}

// Fencing is how far the fencing of head is.
func (f *Fencer) Fencing(head string) failover.Fencing {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t := f.heads[head]; t != nil {
		return t.fencing
	}
	return failover.Fencing{}
}

// Confirm is a person's word that head is off. It is taken only for a fencing that is under way or has failed: said
// earlier, it could be about another time. What a device has begun it ends.
func (f *Fencer) Confirm(head, by string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.heads[head]
	if t == nil || t.fencing.State != failover.FenceRunning && t.fencing.State != failover.FenceFailed {
		return &hint{fmt.Errorf("confirm that %s is off: it is not being fenced", head), "masthead status --why"}
	}
	if t.run != nil {
		t.callOff(errConfirmed)
	}
	t.set(failover.FenceProof, f.c.Now(), by+" said that it is off")
	f.c.Log.Info("fencing confirmed", "head", head, "by", by)
	return nil
}

// States are all devices of all heads, by head, level and step.
func (f *Fencer) States() []wire.FenceState {
	var out []wire.FenceState
	for s := range f.steps() {
		out = append(out, s.now())
	}
	return out
}

// steps are all steps, by head, level and number.
func (f *Fencer) steps() iter.Seq[*step] {
	return func(yield func(*step) bool) {
		for _, head := range slices.Sorted(maps.Keys(f.heads)) {
			for _, level := range f.heads[head].levels {
				for _, s := range level {
					if !yield(s) {
						return
					}
				}
			}
		}
	}
}

func (f *Fencer) event(text string, bad bool) {
	if f.c.Event != nil {
		f.c.Event(text, bad)
	}
}

func names(steps []*step) string {
	var out string
	for i, s := range steps {
		if i > 0 {
			out += ", "
		}
		out += s.device.Name
	}
	return out
}
