package fence

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"masthead/appliance/fence/param"
	"masthead/appliance/fence/script"
	"masthead/node/wire"
)

// step is one device as it is used for one head.
type step struct {
	f             *Fencer
	head          string
	level, number int // counted from 0
	device        Device
	native        *native           // nil: a program
	own           map[string]string // of the step alone
	params        map[string]string // with those of the device
	timeout       time.Duration

	busy   chan struct{} // held by whoever uses driver
	driver driver        // set up by the first who uses it

	mu       sync.Mutex
	probes   context.Context // ends when a fencing needs the device
	overtake context.CancelFunc
	state    wire.FenceState
	failing  bool // and it was told
}

// letGo is how long a driver may take to return after its time was up.
const letGo = time.Second

func (f *Fencer) newStep(head string, level, number int, d Device, s Step) *step {
	st := &step{
		f: f, head: head, level: level, number: number, device: d, own: s.Params, timeout: d.Timeout, busy: make(chan struct{}, 1),
		state: wire.FenceState{Head: head, Level: level + 1, Device: d.Name, Agent: d.Agent, Power: "unknown"},
	}
	st.probes, st.overtake = context.WithCancel(context.Background())
	if st.timeout == 0 {
		st.timeout = f.c.StepTimeout
	}
	var known param.Set
	if n, ours := nativeOf(d.Agent); ours {
		st.native, known = &n, n.params
		st.params = known.Merge(withoutAction(d.Params), withoutAction(s.Params))
	} else {
		st.params = known.Merge(d.Params, s.Params) // again with the names that the program knows, in build
	}
	return st
}

// manual reports whether the step waits for a person.
func (s *step) manual() bool { return s.native != nil && s.native.open == nil }

// build sets the driver up; a program is asked for its metadata.
func (s *step) build(ctx context.Context) (driver, error) {
	if s.native != nil {
		return s.native.open(s.params)
	}
	path, err := script.Find(s.f.c.AgentDirs, s.device.Agent)
	if err != nil {
		return nil, unknownAgent(err)
	}
	meta, err := s.f.describe(ctx, path)
	if err != nil {
		return nil, err
	}
	return script.New(path, meta, s.f.merged(meta, s))
}

// use calls f with the device's driver, and is the only one to do so meanwhile. It returns soon after ctx has ended also
// if the driver does not: a program can hang in the kernel where no signal reaches it, and the next level must have its
// turn. What is left behind then keeps the device to itself. An error has no secrets in it.
func (s *step) use(ctx context.Context, f func(context.Context, driver) (bool, error)) (bool, error) {
	select {
	case s.busy <- struct{}{}:
	case <-ctx.Done():
		return false, fmt.Errorf("an earlier order to the device is still under way: %w", context.Cause(ctx))
	}
	type answer struct {
		on  bool
		err error
	}
	done := make(chan answer, 1)
	go func() {
		defer func() { <-s.busy }()
		var a answer
		// The drivers decode what a machine has sent that may be broken, with code that is not ours.
		defer func() {
			if p := recover(); p != nil {
				a = answer{false, fmt.Errorf("the driver broke down: %v", p)}
			}
			done <- a
		}()
		if s.driver == nil {
			s.driver, a.err = s.build(ctx)
			if a.err != nil {
				s.driver = nil
				return
			}
		}
		a.on, a.err = f(ctx, s.driver)
	}()
	var a answer
	select {
	case a = <-done:
	case <-ctx.Done():
		late := time.NewTimer(letGo)
		defer late.Stop()
		select {
		case a = <-done:
		case <-late.C:
			return false, fmt.Errorf("the driver hangs: %w", context.Cause(ctx))
		}
	}
	if a.err != nil {
		a.err = s.plain(ctx, a.err)
	}
	return a.on, a.err
}

// plain is an error as people may see it: without secrets, and with the timeout named where that was it.
func (s *step) plain(ctx context.Context, err error) error {
	text := param.Redact(err.Error(), s.params)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w (%s)", cause, text)
	}
	var h interface{ Try() string }
	if errors.As(err, &h) {
		return &hint{errors.New(text), h.Try()}
	}
	return errors.New(text)
}

func on(ctx context.Context, d driver) (bool, error) { return d.On(ctx) }

func (s *step) problem(err error) error {
	if err == nil {
		return nil
	}
	return &Problem{Head: s.head, Level: s.level, Step: s.number, Err: err}
}
