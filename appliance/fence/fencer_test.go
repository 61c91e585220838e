package fence

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"masthead/appliance/failover"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// machine is a device and what it switches, under the test's control.
type machine struct {
	mu      sync.Mutex
	running bool
	orders  int
	asked   int
	off     func(ctx context.Context, m *machine) error // nil: obeys
	status  func(ctx context.Context, m *machine) (bool, error)
}

func (m *machine) Off(ctx context.Context) error {
	m.mu.Lock()
	m.orders++
	off := m.off
	m.mu.Unlock()
	if off != nil {
		return off(ctx, m)
	}
	m.set(false)
	return nil
}

func (m *machine) On(ctx context.Context) (bool, error) {
	m.mu.Lock()
	m.asked++
	status := m.status
	m.mu.Unlock()
	if status != nil {
		return status(ctx, m)
	}
	return m.on(), nil
}

func (m *machine) set(running bool) { m.mu.Lock(); defer m.mu.Unlock(); m.running = running }
func (m *machine) on() bool         { m.mu.Lock(); defer m.mu.Unlock(); return m.running }
func (m *machine) statuses() int    { m.mu.Lock(); defer m.mu.Unlock(); return m.asked }
func (m *machine) count() int       { m.mu.Lock(); defer m.mu.Unlock(); return m.orders }

// told collects events.
type told struct {
	mu    sync.Mutex
	lines []string
}

func (t *told) event(text string, bad bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines, map[bool]string{true: "bad: ", false: "good: "}[bad]+text)
}

func (t *told) take() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := t.lines
	t.lines = nil
	return out
}

// bench is a Fencer for head b with one device, d1, d2, …, for each machine in levels.
type bench struct {
	*Fencer
	told *told
	end  func()
}

func newBench(t *testing.T, levels ...[]*machine) *bench {
	t.Helper()
	c := Config{Heads: map[string][][]Step{"b": {}}, StepTimeout: 10 * time.Second}
	told := &told{}
	c.Event = told.event
	n := 0
	for _, level := range levels {
		var steps []Step
		for _, m := range level {
			n++
			d := Device{Name: fmt.Sprintf("d%d", n), Agent: "qmp", Params: map[string]string{"address": "/run/vm"}}
			if m == nil {
				d = Device{Name: d.Name, Agent: manual}
			}
			c.Devices = append(c.Devices, d)
			steps = append(steps, Step{Device: d.Name})
		}
		c.Heads["b"] = append(c.Heads["b"], steps)
	}
	f, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	for l, level := range levels {
		for i, m := range level {
			if m != nil {
				f.heads["b"].levels[l][i].driver = m
			}
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- f.Run(ctx) }()
	return &bench{f, told, func() { cancel(); <-done }}
}

// ended waits until the fencing of b has ended.
func (b *bench) ended() failover.Fencing {
	for range 10000 {
		if s := b.Fencing("b"); s.State != failover.FenceRunning {
			return s
		}
		time.Sleep(10 * time.Millisecond) // of the bubble's clock
	}
	return failover.Fencing{Detail: "does not end"}
}

func never(ctx context.Context, _ *machine) error { <-ctx.Done(); return ctx.Err() }

func TestFencing(t *testing.T) {
	on := func() *machine { return &machine{running: true} }
	lies := func() *machine {
		return &machine{running: true, off: func(context.Context, *machine) error { return nil }}
	}
	hangs := func() *machine { return &machine{running: true, off: never} }
	refuses := func() *machine {
		return &machine{running: true, off: func(context.Context, *machine) error { return errors.New("not allowed") }}
	}
	mute := func() *machine {
		return &machine{running: true, status: func(context.Context, *machine) (bool, error) { return false, errors.New("no answer") }}
	}
	slow := func() *machine { // takes 3 s, and does not answer meanwhile
		return &machine{running: true, off: func(_ context.Context, m *machine) error {
			time.AfterFunc(3*time.Second, func() { m.set(false) })
			return nil
		}, status: func(_ context.Context, m *machine) (bool, error) {
			if m.on() {
				return false, errors.New("busy")
			}
			return false, nil
		}}
	}
	deaf := func() *machine { // no signal reaches it
		return &machine{running: true, off: func(context.Context, *machine) error { time.Sleep(time.Minute); return nil }}
	}
	panics := func() *machine {
		return &machine{running: true, off: func(context.Context, *machine) error { panic("index out of range") }}
	}
	noticesLate := func() *machine { // takes the order, and says so after its time
		return &machine{running: true, off: func(ctx context.Context, m *machine) error { <-ctx.Done(); m.set(false); return nil }}
	}
	type levels = [][]*machine
	for _, test := range []struct {
		name   string
		levels levels
		state  failover.FencingState
		detail string
		atMost time.Duration
	}{
		{"obeys", levels{{on()}}, failover.FenceProof, "level 1: d1: off, and its status says off", 100 * time.Millisecond},
		{"off already", levels{{&machine{}}}, failover.FenceProof, "level 1: d1: off, and its status says off", 100 * time.Millisecond},
		{"slow", levels{{slow()}}, failover.FenceProof, "level 1: d1: off, and its status says off", 5 * time.Second},
		{"lies", levels{{lies()}}, failover.FenceFailed, "level 1: d1: the order off was taken, but there is no proof: the status still says on (its time was up)", 11 * time.Second},
		{"hangs", levels{{hangs()}}, failover.FenceFailed, "level 1: d1: its time was up (context deadline exceeded)", 11 * time.Second},
		{"refuses", levels{{refuses()}}, failover.FenceFailed, "level 1: d1: not allowed", 100 * time.Millisecond},
		{"mute", levels{{mute()}}, failover.FenceFailed, "level 1: d1: the order off was taken, but there is no proof: no answer (its time was up)", 11 * time.Second},
		{"deaf", levels{{deaf()}}, failover.FenceFailed, "level 1: d1: the driver hangs: its time was up", 12 * time.Second},
		{"breaks down", levels{{panics()}}, failover.FenceFailed, "level 1: d1: the driver broke down: index out of range", 100 * time.Millisecond},
		{"too late", levels{{noticesLate()}}, failover.FenceFailed, "level 1: d1: the order off was taken, but there is no proof: the status was not told (its time was up)", 11 * time.Second},
		{"second level", levels{{lies()}, {on()}}, failover.FenceProof, "level 2: d2: off, and its status says off", 11 * time.Second},
		{"second level after one that is deaf", levels{{deaf()}, {on()}}, failover.FenceProof, "level 2: d2: off, and its status says off", 12 * time.Second},
		{"two supplies", levels{{on(), on()}}, failover.FenceProof, "level 1: d1, d2: off, and its status says off", time.Second},
		{"one of two supplies", levels{{on(), refuses()}}, failover.FenceFailed, "level 1: d2: not allowed", time.Second},
		{"one of two supplies, then another way", levels{{on(), refuses()}, {on()}}, failover.FenceProof, "level 2: d3: off, and its status says off", time.Second},
		{"nothing helps", levels{{refuses()}, {hangs()}}, failover.FenceFailed, "level 1: d1: not allowed; level 2: d2: its time was up (context deadline exceeded)", 11 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, test.levels...)
				began := time.Now()
				b.Start("b")
				if s := b.Fencing("b"); s.State == failover.FenceIdle || !s.Possible || s.Target != "b" {
					t.Errorf("after Start: %+v", s)
				}
				got := b.ended()
				if diff := cmp.Diff(test.state, got.State); diff != "" {
					t.Errorf("state (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(test.detail, got.Detail); diff != "" {
					t.Errorf("detail (-want +got):\n%s", diff)
				}
				if took := time.Since(began); took > test.atMost {
					t.Errorf("took %v, at most %v expected", took, test.atMost)
				}
				b.end()
				time.Sleep(time.Minute) // what was left behind ends
			})
		})
	}
}

func TestStartAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{running: true}
		b := newBench(t, []*machine{m})
		defer b.end()
		for range 5 {
			b.Start("b")
		}
		proof := b.ended()
		if m.count() != 1 || proof.State != failover.FenceProof {
			t.Fatalf("%d orders, %+v", m.count(), proof)
		}
		// The head came back, and is to be fenced once more: the old proof must not serve.
		m.set(true)
		time.Sleep(time.Second)
		b.Start("b")
		if s := b.Fencing("b"); s.State == failover.FenceIdle || s.Since <= proof.Since {
			t.Errorf("second Start: %+v after %+v", s, proof)
		}
		if s := b.ended(); s.State != failover.FenceProof || m.count() != 2 {
			t.Errorf("second fencing: %+v after %d orders", s, m.count())
		}
		b.Start("nobody")
		if s := b.Fencing("nobody"); s.State != failover.FenceIdle || s.Possible || b.Possible("nobody") {
			t.Errorf("a head without devices: %+v", s)
		}
	})
}

// TestWant: a decision is given again and again, and a head is fenced once for each time that it comes to be wanted.
func TestWant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{running: true}
		b := newBench(t, []*machine{m})
		defer b.end()
		want := func(head string, orders int, state failover.FencingState) {
			t.Helper()
			for range 100 {
				b.Want(head)
				time.Sleep(10 * time.Millisecond)
			}
			if s := b.Fencing("b"); m.count() != orders || s.State != state || (s.Target == "") != (state == failover.FenceIdle) {
				t.Errorf("Want %q: %d orders, %+v", head, m.count(), s)
			}
		}
		want("", 0, failover.FenceIdle)
		want("b", 1, failover.FenceProof)
		want("", 1, failover.FenceProof) // until it is wanted again, as the decision may look at it later
		m.set(true)
		m.off = never
		want("b", 2, failover.FenceRunning)
		want("", 2, failover.FenceRunning) // the order is under way
		time.Sleep(20 * time.Second)
		want("", 2, failover.FenceIdle)
		want("nobody", 2, failover.FenceIdle)
		want("b", 3, failover.FenceRunning)
		time.Sleep(20 * time.Second)
		want("b", 3, failover.FenceFailed)
		want("", 3, failover.FenceFailed)
	})
}

// TestCalledOff: what a device has begun it ends, whoever still wants it, and its proof counts; nothing else begins.
func TestCalledOff(t *testing.T) {
	slow := func() *machine { // is on for 3 s after the order, which takes 3 s and is undone if it is killed
		return &machine{running: true, off: func(ctx context.Context, m *machine) error {
			select {
			case <-time.After(3 * time.Second):
				time.AfterFunc(3*time.Second, func() { m.set(false) })
				return nil
			case <-ctx.Done():
				return errors.New("killed half-way")
			}
		}}
	}
	hangs := func() *machine { return &machine{running: true, off: never} }
	on := func() *machine { return &machine{running: true} }
	type wish struct {
		after time.Duration
		head  string
	}
	for _, test := range []struct {
		name   string
		levels [][]*machine
		wishes []wish
		orders []int // by device, in the end
		want   failover.Fencing
		events []string
	}{
		{"during the order", [][]*machine{{slow()}, {on()}}, []wish{{0, "b"}, {time.Second, ""}}, []int{1, 0},
			failover.Fencing{Target: "b", State: failover.FenceProof, Detail: "level 1: d1: off, and its status says off"},
			[]string{"bad: b is off: d1 had the order when its fencing was called off"}},
		{"while its status is asked for", [][]*machine{{slow()}}, []wish{{0, "b"}, {4 * time.Second, ""}}, []int{1},
			failover.Fencing{Target: "b", State: failover.FenceProof, Detail: "level 1: d1: off, and its status says off"},
			[]string{"bad: b is off: d1 had the order when its fencing was called off"}},
		{"the level has another device", [][]*machine{{slow(), on()}}, []wish{{0, "b"}, {time.Second, ""}}, []int{1, 0}, failover.Fencing{}, nil},
		{"the device fails", [][]*machine{{hangs()}, {on()}}, []wish{{0, "b"}, {time.Second, ""}}, []int{1, 0}, failover.Fencing{},
			[]string{"bad: fencing b: level 1: d1: its time was up (context deadline exceeded)"}},
		{"wanted again, and the first order does it", [][]*machine{{slow()}}, []wish{{0, "b"}, {time.Second, ""}, {time.Second, "b"}}, []int{1},
			failover.Fencing{Target: "b", State: failover.FenceProof, Detail: "level 1: d1: off, and its status says off"},
			[]string{"bad: b is off: d1 had the order when its fencing was called off"}},
		{"wanted again, and the first order fails", [][]*machine{{hangs()}, {on()}}, []wish{{0, "b"}, {time.Second, ""}, {time.Second, "b"}}, []int{2, 1},
			failover.Fencing{Target: "b", State: failover.FenceProof, Detail: "level 2: d2: off, and its status says off"},
			[]string{"bad: fencing b: level 1: d1: its time was up (context deadline exceeded)", "bad: fencing b: level 1: d1: its time was up (context deadline exceeded)"}},
		{"wanted again for a moment", [][]*machine{{hangs()}, {on()}}, []wish{{0, "b"}, {time.Second, ""}, {time.Second, "b"}, {time.Second, ""}}, []int{1, 0},
			failover.Fencing{}, []string{"bad: fencing b: level 1: d1: its time was up (context deadline exceeded)"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, test.levels...)
				defer b.end()
				for _, w := range test.wishes {
					time.Sleep(w.after)
					b.Want(w.head)
				}
				got := b.ended()
				got.Possible, got.Since = false, 0
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("the end (-want +got):\n%s", diff)
				}
				var orders []int
				for _, level := range test.levels {
					for _, m := range level {
						orders = append(orders, m.count())
					}
				}
				if diff := cmp.Diff(test.orders, orders); diff != "" {
					t.Errorf("orders (-want +got):\n%s", diff)
				}
				synctest.Wait()
				if diff := cmp.Diff(test.events, b.told.take()); diff != "" {
					t.Errorf("events (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestConfirmDuringOrder: the word of a person counts at once, and the order goes on to its end.
func TestConfirmDuringOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := false
		b := newBench(t, []*machine{{running: true, off: func(ctx context.Context, m *machine) error {
			select {
			case <-time.After(3 * time.Second):
				ended = true
				return errors.New("refused in the end")
			case <-ctx.Done():
				return ctx.Err()
			}
		}}})
		defer b.end()
		b.Start("b")
		time.Sleep(time.Second)
		if err := b.Confirm("b", "anna"); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if s := b.Fencing("b"); s.State != failover.FenceProof || s.Detail != "anna said that it is off" {
				t.Errorf("after Confirm: %+v", s)
			}
			time.Sleep(5 * time.Second)
		}
		if !ended {
			t.Error("the order was killed half-way")
		}
	})
}

func TestConfirm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, []*machine{{running: true, off: func(context.Context, *machine) error { return errors.New("dead") }}}, []*machine{nil})
		defer b.end()
		err := b.Confirm("b", "root")
		var try interface{ Try() string }
		if err == nil || !errors.As(err, &try) {
			t.Errorf("Confirm before any fencing: %v", err)
		}
		b.Start("b")
		time.Sleep(time.Hour)
		if s := b.Fencing("b"); s.State != failover.FenceRunning || s.Detail != "level 2: d2" {
			t.Errorf("manual does not wait: %+v", s)
		}
		if err := b.Confirm("b", "root"); err != nil {
			t.Fatal(err)
		}
		if s := b.Fencing("b"); s.State != failover.FenceProof || s.Detail != "root said that it is off" {
			t.Errorf("after Confirm: %+v", s)
		}
		synctest.Wait()
		if s := b.Fencing("b"); s.State != failover.FenceProof {
			t.Errorf("the end of the waiting has changed it: %+v", s)
		}
		want := []string{
			"bad: fencing b: level 1: d1: dead",
			"bad: b must be switched off by a person: switch it off, then: masthead fence confirm-dead b",
		}
		var got []string
		for _, line := range b.told.take() {
			if len(got) < len(want) {
				got = append(got, line)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

func TestConfirmAfterFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, []*machine{{running: true, off: func(context.Context, *machine) error { return errors.New("dead") }}})
		defer b.end()
		b.Start("b")
		if s := b.ended(); s.State != failover.FenceFailed {
			t.Fatalf("%+v", s)
		}
		if err := b.Confirm("b", "anna"); err != nil {
			t.Fatal(err)
		}
		if s := b.Fencing("b"); s.State != failover.FenceProof || s.Detail != "anna said that it is off" {
			t.Errorf("after Confirm: %+v", s)
		}
	})
}

// TestSecrets: a device that repeats the password in its error does not get it into a log.
func TestSecrets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{running: true, off: func(context.Context, *machine) error { return errors.New("user root:s3cr3t! refused") }}
		b := newBench(t, []*machine{m})
		defer b.end()
		b.heads["b"].levels[0][0].params = map[string]string{"password": "s3cr3t!"}
		b.Start("b")
		all := b.ended().Detail + strings.Join(b.told.take(), "") + fmt.Sprint(b.States())
		if strings.Contains(all, "s3cr3t") || !strings.Contains(all, "user root:*** refused") {
			t.Error(all)
		}
	})
}
