package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"masthead/node/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// machine is an agent's side of a channel: it answers each command by what do says.
type machine struct {
	conn net.Conn
	mu   sync.Mutex
	got  []wire.Frame // but pongs
}

// attach gives d a machine. do is called for each frame but pongs, in a goroutine of its own; nil: it never answers.
func attach(t testing.TB, d *Dispatcher, mac string, do func(m *machine, f wire.Frame)) *machine {
	t.Helper()
	ours, theirs := net.Pipe()
	m := &machine{conn: theirs}
	var both sync.WaitGroup
	attached := make(chan struct{})
	both.Go(func() {
		if err := d.Attach(mac, "", ours, ours); err != nil && !errors.Is(err, io.ErrClosedPipe) {
			t.Logf("%s: %v", mac, err)
		}
	})
	both.Go(func() {
		var once sync.Once
		for {
			f, err := wire.ReadFrame(theirs, wire.MaxHeadFrame)
			if err != nil {
				return
			}
			if f.Kind == wire.FramePong {
				once.Do(func() { close(attached) })
				continue
			}
			m.mu.Lock()
			m.got = append(m.got, f)
			m.mu.Unlock()
			if do != nil {
				both.Go(func() { do(m, f) })
			}
		}
	})
	t.Cleanup(func() { theirs.Close(); both.Wait() })
	<-attached
	return m
}

func (m *machine) send(f wire.Frame) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_ = wire.WriteFrame(m.conn, f) // a head that has gone is what some tests are about
}

func (m *machine) kinds() (kinds []wire.FrameKind) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.got {
		kinds = append(kinds, f.Kind)
	}
	return kinds
}

// says answers a command with text and an exit status.
func says(text string, exit int) func(*machine, wire.Frame) {
	return func(m *machine, f wire.Frame) {
		if f.Kind != wire.FrameRun {
			return
		}
		m.send(wire.Frame{Kind: wire.FrameOutput, ID: f.ID, Stdout: []byte(text)})
		m.send(wire.Frame{Kind: wire.FrameExit, ID: f.ID, Result: &wire.CommandResult{Exit: exit}})
	}
}

func targets(n int) (list []wire.Target) {
	for i := range n {
		list = append(list, wire.Target{Name: fmt.Sprintf("n%04d", i+1), MAC: mac(i + 1)})
	}
	return list
}

func mac(i int) string { return fmt.Sprintf("52:54:00:00:%02x:%02x", i/256, i%256) }

var uname = wire.Command{Kind: wire.CommandExec, Argv: []string{"uname"}, Timeout: 5, Output: 1 << 20}

// collected is what came of a run: the output and the result of each node.
type collected struct {
	out     map[string]string
	done    map[string]wire.CommandResult
	notes   []string
	plan    *wire.CommandPlan
	doubled []string
}

func (c *collected) emit(e wire.CommandEvent) error {
	if c.out == nil {
		c.out, c.done = map[string]string{}, map[string]wire.CommandResult{}
	}
	if e.Plan != nil {
		c.plan = e.Plan
	}
	if e.Note != "" {
		c.notes = append(c.notes, e.Note)
	}
	c.out[e.Node] += string(e.Stdout) + string(e.Stderr)
	if e.Done != nil {
		if _, twice := c.done[e.Node]; twice {
			c.doubled = append(c.doubled, e.Node)
		}
		r := *e.Done
		r.Took = 0
		c.done[e.Node] = r
	}
	return nil
}

func TestRun(t *testing.T) {
	d := New(Config{Head: "h1"})
	attach(t, d, mac(1), says("6.12\n", 0))
	attach(t, d, mac(2), says("no\n", 3))
	var got collected
	if err := d.Run(t.Context(), targets(3), uname, nil, 2, got.emit); err != nil {
		t.Fatal(err)
	}
	want := map[string]wire.CommandResult{
		"n0001": {Head: "h1"}, "n0002": {Head: "h1", Exit: 3},
		"n0003": {Head: "h1", Error: "its connection to h1 was lost", Try: "masthead node why n0003"},
	}
	if diff := cmp.Diff(want, got.done); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	if got.out["n0001"] != "6.12\n" || got.out["n0002"] != "no\n" {
		t.Errorf("output %q", got.out)
	}
}

func TestFanoutIsABound(t *testing.T) {
	d := New(Config{Head: "h1"})
	var now, most atomic.Int32
	for i := range 40 {
		attach(t, d, mac(i+1), func(m *machine, f wire.Frame) {
			if f.Kind != wire.FrameRun {
				return
			}
			n := now.Add(1)
			for {
				old := most.Load()
				if n <= old || most.CompareAndSwap(old, n) {
					break
				}
			}
			time.Sleep(time.Millisecond) // long enough for others to begin, if they may
			now.Add(-1)
			says("", 0)(m, f)
		})
	}
	var got collected
	if err := d.Run(t.Context(), targets(40), uname, nil, 7, got.emit); err != nil || len(got.done) != 40 {
		t.Errorf("%v, %d results", err, len(got.done))
	}
	if most.Load() > 7 || most.Load() < 2 {
		t.Errorf("%d nodes at once, want at most 7, and more than one", most.Load())
	}
}

// What an administrator breaks off is cancelled on the nodes, and no more nodes begin.
func TestCancel(t *testing.T) {
	d := New(Config{Head: "h1"})
	begun := make(chan struct{}, 10)
	var all []*machine
	cancelled := make(chan struct{}, 10)
	for i := range 3 {
		all = append(all, attach(t, d, mac(i+1), func(m *machine, f wire.Frame) {
			switch f.Kind {
			case wire.FrameRun:
				begun <- struct{}{}
			case wire.FrameCancel:
				cancelled <- struct{}{}
			}
		}))
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-begun; <-begun; cancel() }()
	err := d.Run(ctx, targets(3), uname, nil, 2, func(e wire.CommandEvent) error { t.Errorf("event %+v", e); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	<-cancelled
	<-cancelled
	if k := all[2].kinds(); len(k) > 0 {
		t.Errorf("the third node was told %v", k)
	}
}

// A reader that does not read stops the command it reads of, by the window, and nothing else.
func TestSlowReaderStopsOnlyItsCommand(t *testing.T) {
	d := New(Config{Head: "h1"})
	chunk := bytes.Repeat([]byte("x"), 32<<10)
	sent := make(chan int, 1)
	attach(t, d, mac(1), func(m *machine, f wire.Frame) {
		if f.Kind != wire.FrameRun || f.Command.Argv[0] == "uname" {
			if f.Kind == wire.FrameRun {
				says("ok", 0)(m, f)
			}
			return
		}
		window, n := int64(wire.CommandWindow), 0
		for out := (wire.Frame{Kind: wire.FrameOutput, ID: f.ID, Stdout: chunk}); window >= out.Cost(); window -= out.Cost() {
			m.send(out)
			n++
		}
		sent <- n
	})
	ctx, cancel := context.WithCancel(t.Context())
	var slow sync.WaitGroup
	slow.Go(func() {
		_ = d.Run(ctx, targets(1), wire.Command{Kind: wire.CommandExec, Argv: []string{"yes"}, Timeout: 60, Output: 1 << 30}, nil, 1,
			func(wire.CommandEvent) error { <-ctx.Done(); return ctx.Err() })
	})
	if n := <-sent; n < 7 {
		t.Errorf("%d chunks fit the window", n)
	}
	var got collected
	if err := d.Run(t.Context(), targets(1), uname, nil, 1, got.emit); err != nil || got.out["n0001"] != "ok" {
		t.Errorf("another command on the same node: %v, %q", err, got.out)
	}
	cancel()
	slow.Wait()
}

func TestMoreThanTheWindowCutsTheMachineOff(t *testing.T) {
	d := New(Config{Head: "h1"})
	attach(t, d, mac(1), func(m *machine, f wire.Frame) {
		if f.Kind != wire.FrameRun {
			return
		}
		for range 2 * wire.CommandWindow / (32 << 10) {
			m.send(wire.Frame{Kind: wire.FrameOutput, ID: f.ID, Stdout: make([]byte, 32<<10)})
		}
	})
	block := make(chan struct{})
	var once sync.Once
	var got collected
	err := d.Run(t.Context(), targets(1), uname, nil, 1, func(e wire.CommandEvent) error {
		once.Do(func() {
			for d.Count() > 0 { // until the machine is cut off
				time.Sleep(time.Millisecond)
			}
			close(block)
		})
		return got.emit(e)
	})
	<-block
	if err != nil || !strings.Contains(got.done["n0001"].Error, "connection to it was lost") {
		t.Errorf("%v, %+v", err, got.done)
	}
}

func TestNewerChannelReplaces(t *testing.T) {
	d := New(Config{Head: "h1"})
	old := attach(t, d, mac(1), nil)
	attach(t, d, mac(1), says("new", 0))
	if _, err := old.conn.Read(make([]byte, 1)); err == nil {
		t.Error("the old connection is open")
	}
	var got collected
	if err := d.Run(t.Context(), targets(1), uname, nil, 1, got.emit); err != nil || got.out["n0001"] != "new" || d.Count() != 1 {
		t.Errorf("%v, %q, %d attached", err, got.out, d.Count())
	}
}

func TestLostConnectionIsAResult(t *testing.T) {
	d := New(Config{Head: "h1"})
	attach(t, d, mac(1), func(m *machine, f wire.Frame) { m.conn.Close() })
	// What was said before the loss counts.
	attach(t, d, mac(2), func(m *machine, f wire.Frame) { says("done", 0)(m, f); m.conn.Close() })
	var got collected
	if err := d.Run(t.Context(), targets(2), uname, nil, 2, got.emit); err != nil {
		t.Fatal(err)
	}
	if r := got.done["n0001"]; !strings.Contains(r.Error, "was lost") {
		t.Errorf("%+v", r)
	}
	if r := got.done["n0002"]; r.Failed() || got.out["n0002"] != "done" {
		t.Errorf("%+v, %q", r, got.out["n0002"])
	}
}

func TestInput(t *testing.T) {
	d := New(Config{Head: "h1", Spool: t.TempDir()})
	large := bytes.Repeat([]byte("0123456789abcdef"), 64<<10) // 1 MiB
	for _, text := range [][]byte{nil, []byte("small"), large} {
		in, err := d.TakeInput(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		attach(t, d, mac(1), func(m *machine, f wire.Frame) {
			if f.Kind != wire.FrameRun {
				return
			}
			data := f.Inline
			if f.Input > 0 {
				if _, err := d.Lent(f.ID, mac(2)); !errors.Is(err, ErrNoInput) {
					t.Errorf("another machine gets the input: %v", err)
				}
				lent, err := d.Lent(f.ID, mac(1))
				if err != nil {
					t.Error(err)
					return
				}
				data, _ = io.ReadAll(lent.Reader())
			}
			says(fmt.Sprintf("%t", bytes.Equal(data, text)), 0)(m, f)
		})
		var got collected
		if err := d.Run(t.Context(), targets(1), uname, in, 1, got.emit); err != nil || got.out["n0001"] != "true" {
			t.Errorf("%d bytes: %v, %q", len(text), err, got.out)
		}
		if err := in.Close(); err != nil {
			t.Error(err)
		}
	}
	if len(d.inputs) != 0 {
		t.Errorf("%d inputs are still lent", len(d.inputs))
	}
	if _, err := d.TakeInput(io.MultiReader(bytes.NewReader(large), failing{})); err == nil {
		t.Error("a sender that broke off was taken for the end")
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestPongTellsAnotherList(t *testing.T) {
	list := []wire.Head{{Name: "h1", URL: "https://10.77.0.1"}, {Name: "h2", URL: "https://10.77.0.2"}}
	d := New(Config{Head: "h1", Heads: func(string) []wire.Head { return list }})
	if f := d.pong(mac(1), wire.HeadList(list)); f.Heads != nil {
		t.Errorf("the list that it has: %v", f.Heads)
	}
	if f := d.pong(mac(1), wire.HeadList(list[:1])); !slices.Equal(f.Heads, list) {
		t.Errorf("another list: %v", f.Heads)
	}
}

// peerOf makes a dispatcher another head.
func peerOf(name string, d *Dispatcher) Peer {
	return Peer{
		Name:     name,
		Attached: func(_ context.Context, macs []string) (map[string]time.Duration, error) { return d.Attached(macs), nil },
		Run: func(ctx context.Context, req wire.PeerRequest, input io.Reader, emit Emit) error {
			in, err := d.TakeInput(input)
			if err != nil {
				return err
			}
			defer in.Close()
			return d.Run(ctx, req.Targets, req.Command, in, req.Fanout, emit)
		},
	}
}

func TestRunAllOverHeads(t *testing.T) {
	d1, d2 := New(Config{Head: "h1"}), New(Config{Head: "h2"})
	attach(t, d1, mac(1), says("a", 0))
	attach(t, d2, mac(2), says("b", 0))
	dead := Peer{Name: "h3", Attached: func(context.Context, []string) (map[string]time.Duration, error) {
		return nil, errors.New("connection refused")
	}}
	all := targets(3)
	all[2].Absent = "is down, heard of 3m0s ago"
	var got collected
	r := d1.Find(t.Context(), all, []Peer{peerOf("h2", d2), dead})
	if err := d1.RunAll(t.Context(), r, uname, nil, 64, got.emit); err != nil {
		t.Fatal(err)
	}
	plan := &wire.CommandPlan{
		Nodes: []string{"n0001", "n0002", "n0003"}, Heads: map[string][]string{"h1": {"n0001"}, "h2": {"n0002"}},
		Absent: map[string]string{"n0003": "is down, heard of 3m0s ago"},
	}
	if diff := cmp.Diff(plan, got.plan); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	want := map[string]wire.CommandResult{
		"n0001": {Head: "h1"}, "n0002": {Head: "h2"},
		"n0003": {Error: "no head that answers reaches it; it is down, heard of 3m0s ago", Try: "masthead node why n0003"},
	}
	if diff := cmp.Diff(want, got.done); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"head h3 does not answer: connection refused"}, got.notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
}

// A head that dies in the middle is a line for each of its nodes that was not through, and the rest goes on.
func TestHeadThatDiesInTheMiddle(t *testing.T) {
	d1, d2 := New(Config{Head: "h1"}), New(Config{Head: "h2"})
	attach(t, d1, mac(1), says("a", 0))
	attach(t, d2, mac(2), says("b", 0))
	attach(t, d2, mac(3), says("c", 0))
	peer := peerOf("h2", d2)
	run := peer.Run
	peer.Run = func(ctx context.Context, req wire.PeerRequest, input io.Reader, emit Emit) error {
		req.Targets = req.Targets[:1]
		if err := run(ctx, req, input, emit); err != nil {
			return err
		}
		// Nor does it get to speak for the nodes of others, or twice.
		_ = emit(wire.CommandEvent{Node: "n0001", Done: &wire.CommandResult{Exit: 9}})
		_ = emit(wire.CommandEvent{Node: "n0002", Done: &wire.CommandResult{Exit: 9}})
		return errors.New("unexpected EOF")
	}
	var got collected
	if err := d1.RunAll(t.Context(), d1.Find(t.Context(), targets(3), []Peer{peer}), uname, nil, 64, got.emit); err != nil {
		t.Fatal(err)
	}
	want := map[string]wire.CommandResult{
		"n0001": {Head: "h1"}, "n0002": {Head: "h2"},
		"n0003": {Head: "h2", Error: "head h2: unexpected EOF", Try: "masthead head list"},
	}
	if diff := cmp.Diff(want, got.done); diff != "" || len(got.doubled) > 0 {
		t.Errorf("results (-want +got):\n%s%v", diff, got.doubled)
	}
}

// A node that has gone to another head is reached there, though its old connection looks open here.
func TestTheHeadThatHeardItLast(t *testing.T) {
	var r Route
	now, old := time.Second, 45*time.Second
	r.assign("h1", targets(3), map[string]time.Duration{mac(1): old, mac(2): now},
		[]Peer{{Name: "h2"}, {Name: "h3"}}, []map[string]time.Duration{{mac(1): 2 * now, mac(3): old}, {mac(1): now, mac(3): 2 * old}})
	want := map[string][]string{"h1": {"n0002"}, "h2": {"n0003"}, "h3": {"n0001"}}
	if diff := cmp.Diff(want, r.Plan.Heads); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPartsKeepTheFanout(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r Route
		r.here = targets(rapid.IntRange(0, 50).Draw(t, "here"))
		for _, n := range rapid.SliceOfN(rapid.IntRange(1, 50), 0, 4).Draw(t, "away") {
			r.away = append(r.away, share{targets: targets(n)})
		}
		fanout := rapid.IntRange(1, 100).Draw(t, "fanout")
		parts, serial := r.parts(fanout)
		sum := 0
		for _, p := range parts {
			if p.fanout < 1 || len(p.targets) == 0 {
				t.Fatalf("part %+v", p)
			}
			sum += p.fanout
			if serial && p.fanout != fanout {
				t.Fatalf("one after the other, and %d of %d", p.fanout, fanout)
			}
		}
		if !serial && sum > fanout {
			t.Fatalf("%d at once, at most %d", sum, fanout)
		}
	})
}
