package monitor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	"masthead/appliance/failover"
)

const (
	// checksAtOnce bounds the checks that run together, as mon's maxprocs.
	checksAtOnce = 16
	// lookAround is how soon a change of owner is noticed without a Poke.
	lookAround = time.Second
)

// Set is the monitors of one head at work.
type Set struct {
	wake    chan struct{}
	results chan outcome
	slots   chan struct{}
	running sync.WaitGroup

	mu      sync.Mutex
	config  Config
	watches []*watch
	sick    map[string]sickness
}

// watch is one monitor.
type watch struct {
	m     Monitor
	ask   probe
	line  *line
	here  bool // this head is one that checks it
	state State

	n       uint64 // checks begun
	due     time.Time
	started time.Time
	cancel  context.CancelFunc // of the check that runs; nil: none does
	held    *outcome           // a failure that is not counted before the monitors that may explain it have been asked
}

// outcome is the result of the n-th check of a watch.
type outcome struct {
	of     *watch
	n      uint64
	result Result
}

// sickness is a failover that a monitor asked for.
type sickness struct {
	reason string
	at     time.Time
}

// New makes the set. Nothing is checked before Run.
func New(c Config) (*Set, error) {
	s := &Set{
		wake: make(chan struct{}, 1), results: make(chan outcome), slots: make(chan struct{}, checksAtOnce),
		sick: map[string]sickness{},
	}
	return s, s.Reload(c)
}

// Reload changes what is checked, also while it runs. Monitors that stay as they were keep their state.
func (s *Set) Reload(c Config) error {
	if errs := Check(c.Monitors, c.Alerts); len(errs) > 0 {
		all := make([]error, len(errs))
		for i, e := range errs {
			all[i] = e
		}
		return errors.Join(all...)
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Event == nil {
		c.Event = func(string, bool) {}
	}
	if c.Owner == nil {
		c.Owner = func() bool { return false }
	}
	if c.Hold == 0 {
		c.Hold = DefaultHold
	}
	alerts := c.Alerts
	if len(alerts) == 0 {
		mail := []Alert{{Mail: &MailAlert{}}}
		alerts = []Period{{Name: "default", Alerts: mail, UpAlerts: mail, NumAlerts: 1}}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var watches []*watch
	for _, m := range c.Monitors {
		if len(m.Periods) == 0 {
			m.Periods = alerts
		}
		i := slices.IndexFunc(s.watches, func(w *watch) bool { return reflect.DeepEqual(w.m, m) })
		if i >= 0 {
			watches = append(watches, s.watches[i])
			s.watches = slices.Delete(s.watches, i, i+1)
			continue
		}
		watches = append(watches, &watch{m: m, ask: abandoning(probeOf(m, c.MonDir)), line: &line{}})
	}
	for _, w := range s.watches {
		w.stop()
		delete(s.sick, w.m.Name)
	}
	s.config, s.watches = c, watches
	s.Poke()
	return nil
}

func (w *watch) stop() {
	if w.cancel != nil {
		w.cancel()
		w.cancel = nil
	}
	w.n++ // what still comes of the check that was cancelled is of another number
	w.held = nil
}

// Poke makes the set look at once whether this head is the owner.
func (s *Set) Poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run checks and alerts until ctx ends. Then it cancels checks and alerts and waits for them.
func (s *Set) Run(ctx context.Context) error {
	defer s.running.Wait()
	for {
		wait, effects := s.turn(ctx, time.Now())
		for _, f := range effects {
			f(ctx)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case o := <-s.results:
			s.take(ctx, o, time.Now())
		case <-s.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// turn begins the checks that are due, and returns the time until the next and what results there are ask for.
func (s *Set) turn(ctx context.Context, now time.Time) (time.Duration, []effect) {
	s.mu.Lock()
	ask := s.config.Owner
	s.mu.Unlock()
	owner := ask()
	s.mu.Lock()
	defer s.mu.Unlock()
	effects := s.settle(now)
	wait := lookAround
	for _, w := range s.watches {
		if here := w.m.here(owner); here != w.here {
			w.stop()
			if sick, ok := s.sick[w.m.Name]; ok && w.state.Asked {
				sick.at = now
				s.sick[w.m.Name] = sick
			}
			w.here, w.state, w.due = here, State{}, now.Add(w.m.first(s.config.Seed))
		}
		if !w.here || w.cancel != nil || w.held != nil {
			continue
		}
		if !w.due.After(now) {
			if w.m.excluded(now) {
				w.due = now.Add(w.m.Delay(s.config.Seed, w.n, false))
			} else {
				s.begin(ctx, w, now)
			}
		}
		wait = min(wait, max(0, w.due.Sub(now)))
	}
	return wait, effects
}

func (m Monitor) here(owner bool) bool {
	switch m.On {
	case OnAll:
		return true
	case OnStandby:
		return !owner
	default:
		return owner
	}
}

func (m Monitor) excluded(now time.Time) bool {
	if m.Exclude == "" {
		return false
	}
	w, err := ParseWhen(m.Exclude)
	return err == nil && w.Contains(now)
}

// begin starts a check, and says when the next is due.
func (s *Set) begin(ctx context.Context, w *watch, now time.Time) {
	w.n++
	w.started = now
	w.due = now.Add(w.m.Delay(s.config.Seed, w.n, w.state.Failing > 0))
	ctx, w.cancel = context.WithCancel(ctx)
	o, ask, timeout := outcome{of: w, n: w.n}, w.ask, w.m.timeout()
	s.running.Go(func() {
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		o.result = timed(ctx, ask, timeout)
		<-s.slots
		select {
		case s.results <- o:
		case <-ctx.Done():
		}
	})
}

// still is by how much a check may overrun its timeout before it is this machine that stood still (starved, stopped, a paused
// virtual machine), and a failure says nothing of what was checked.
const still = 2 * time.Second

func timed(ctx context.Context, ask probe, timeout time.Duration) Result {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	began := time.Now()
	r := ask(ctx)
	if took := time.Since(began); took > timeout+still && r.Reading == failover.Down {
		text := r.Summary
		r = unknown("this machine stood still while it checked")
		r.Detail = fmt.Sprintf("it took %s of %s; the check said: %s", took.Round(time.Millisecond), timeout, text)
	}
	return r
}

// take takes in the result of a check. It is counted in the next turn, or when the monitors that may explain it are asked.
func (s *Set) take(ctx context.Context, o outcome, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := o.of; w.cancel != nil && w.n == o.n {
		w.cancel()
		w.cancel = nil
		w.held = &o
		s.refresh(ctx, w, now)
	}
}

// settle counts the results that wait for nothing any more, and returns what is to be done about them.
func (s *Set) settle(now time.Time) []effect {
	var effects []effect
	for again := true; again; {
		again = false
		for _, w := range s.watches {
			if w.held == nil || slices.ContainsFunc(s.ancestors(w), func(a *watch) bool { return a.cancel != nil || a.held != nil }) {
				continue
			}
			effects = append(effects, s.count(w, now)...)
			again = true
		}
	}
	return effects
}

func (s *Set) count(w *watch, now time.Time) []effect {
	before := w.state
	because := ""
	if w.held.result.Reading != failover.Up {
		because = s.because(w)
	}
	after, due := w.m.Step(before, w.held.result, because, now)
	w.held = nil
	w.state = after
	if after.Last.Reading == failover.Up {
		delete(s.sick, w.m.Name)
	}
	effects := s.tell(w.m, before, after, now)
	for _, d := range due {
		n := s.notice(w.m, before, after, d, now)
		switch {
		case d.Alert.Failover:
			reason := fmt.Sprintf("monitor %s: %s", w.m.Name, n.Summary)
			s.sick[w.m.Name] = sickness{reason, now}
			effects = append(effects, s.failover(reason))
		case d.Alert.Mail != nil:
			effects = append(effects, s.mail(*d.Alert.Mail, n))
		default:
			effects = append(effects, s.enqueue(w, n, d))
		}
	}
	return effects
}
