package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/images"
	"masthead/node/rootdev"
	"masthead/node/stages"
	"masthead/node/wire"
)

// cluster is a set of heads as an agent meets them.
type cluster struct {
	mu     sync.Mutex
	down   map[string]bool
	valid  string // the token that the heads take
	calls  []string
	stages []int // number of stages in each report that was taken
	notes  []string
	list   []wire.Head // that Hello and Mine give
	hosts  []wire.Host
	keys   []string
}

type testHead struct {
	c          *cluster
	url, token string
}

func (h testHead) Hello(context.Context, wire.Hello) (wire.Spec, error) {
	h.c.calls = append(h.c.calls, "hello "+h.url)
	if h.token != "" {
		return wire.Spec{}, &wire.ProblemError{Problem: wire.Problem{Status: http.StatusUnauthorized}} // as a head does
	}
	return wire.Spec{Verdict: wire.VerdictBoot, Token: h.c.valid, Heads: h.c.list}, nil
}

func (h testHead) Report(_ context.Context, r wire.Report) error {
	h.c.mu.Lock()
	defer h.c.mu.Unlock()
	if h.c.down[h.url] {
		h.c.calls = append(h.c.calls, "down "+h.url)
		return errors.New("connection refused")
	}
	if h.token != h.c.valid {
		h.c.calls = append(h.c.calls, "401 "+h.url)
		return &wire.ProblemError{Problem: wire.Problem{Status: http.StatusUnauthorized}}
	}
	h.c.calls = append(h.c.calls, "report "+h.url)
	h.c.stages = append(h.c.stages, len(r.Stages))
	if r.Note != "" {
		h.c.notes = append(h.c.notes, r.Note)
	}
	return nil
}

func (h testHead) Mine(context.Context) (wire.Mine, error) {
	return wire.Mine{Name: "n01", Heads: h.c.list, Hosts: h.c.hosts, SSHKeys: h.c.keys}, nil
}

// Channel is not there, as with a head that is older than this agent.
func (h testHead) Channel(context.Context) (io.ReadWriteCloser, error) {
	return nil, errors.New("no such path")
}

func (h testHead) Input(context.Context, string) (io.ReadCloser, error) {
	return nil, errors.New("no such path")
}

func (h testHead) Close() {}

type testRoot struct {
	heads  []rootdev.Heads
	status error
}

func (r *testRoot) Status(context.Context) (wire.RootStatus, error) {
	return wire.RootStatus{}, r.status
}
func (r *testRoot) SetHeads(_ context.Context, h rootdev.Heads) error {
	r.heads = append(r.heads, h)
	return nil
}

var h1, h2, h3 = wire.Head{Name: "h1", URL: "https://10.77.0.1"}, wire.Head{Name: "h2", URL: "https://10.77.0.2"}, wire.Head{Name: "h3", URL: "https://10.77.0.3"}

func testAgent(t *testing.T, c *cluster, root Root) *Agent {
	cfg := Config{Role: images.RoleWorker, Boot: "b", MAC: "52:54:00:77:00:0a", Spec: wire.Spec{Token: "first", Heads: []wire.Head{h1, h2}}}
	a := New(cfg, &stages.Recorder{Uptime: func() time.Duration { return time.Second }}, root, slog.New(slog.DiscardHandler))
	a.uptime = func() time.Duration { return time.Second }
	a.dial = func(url, token string) Head { return testHead{c, "h" + url[len(url)-1:], token} }
	a.random = func() float64 { return 0.5 } // no jitter
	dir := t.TempDir()
	a.paths = paths{hosts: filepath.Join(dir, "hosts"), keys: filepath.Join(dir, "authorized_keys"), node: filepath.Join(dir, "node.json"), scripts: dir}
	return a
}

// run lets the agent live for that long, of fake time.
func run(t *testing.T, a *Agent, d time.Duration) {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	err := a.Run(ctx)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Run: %v", err)
	}
}

func TestReportsToTheFirstHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{valid: "first"}
		run(t, testAgent(t, c, nil), 25*time.Second)
		if d := cmp.Diff([]string{"report h1", "report h1", "report h1"}, c.calls); d != "" {
			t.Errorf("calls (-want +got):\n%s", d)
		}
		if d := cmp.Diff([]int{1, 1, 1}, c.stages); d != "" {
			t.Errorf("a head that lost its memory must hear all stages in any report (-want +got):\n%s", d)
		}
	})
}

func TestRotatesWhenAHeadIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{valid: "first", down: map[string]bool{"h1": true}}
		run(t, testAgent(t, c, nil), 15*time.Second)
		// The one that answered stays the parent: no going back by itself.
		if d := cmp.Diff([]string{"down h1", "report h2", "report h2"}, c.calls); d != "" {
			t.Errorf("calls (-want +got):\n%s", d)
		}
		if len(c.notes) != 0 {
			t.Errorf("a machine that had no parent before has left none: %v", c.notes)
		}
	})
}

// What a machine that loses its parent does, and that it does it once.
func TestNewParentIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, root := &cluster{valid: "first", down: map[string]bool{}}, &testRoot{}
		a := testAgent(t, c, root)
		own := "127.0.0.1\tlocalhost\n" + HostsBlock("n01", AddressOf(h1.URL), []wire.Host{{Name: "h1", Address: AddressOf(h1.URL)}}) + "10.9.9.9\tmine\n"
		if err := os.WriteFile(a.paths.hosts, []byte(own), 0o640); err != nil {
			t.Fatal(err)
		}
		down := func(is bool) func() {
			return func() {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.down["h1"] = is
			}
		}
		time.AfterFunc(15*time.Second, down(true))
		time.AfterFunc(35*time.Second, down(false)) // it is back: nobody goes back
		run(t, a, 55*time.Second)
		want := []string{"report h1", "report h1", "down h1", "report h2", "report h2", "report h2", "report h2"}
		if d := cmp.Diff(want, c.calls); d != "" {
			t.Errorf("calls (-want +got):\n%s", d)
		}
		if d := cmp.Diff([]string{"reports to h2 now, no longer to h1, since it does not answer: connection refused"}, c.notes); d != "" {
			t.Errorf("notes (-want +got):\n%s", d)
		}
		orders := []rootdev.Heads{{Heads: []wire.Head{h1, h2}, Token: "first"}, {Heads: []wire.Head{h2, h1}, Token: "first"}}
		if d := cmp.Diff(orders, root.heads); d != "" {
			t.Errorf("the root device was told (-want +got):\n%s", d)
		}
		got, _ := os.ReadFile(a.paths.hosts)
		if want := strings.Replace(own, "10.77.0.1\tparent", "10.77.0.2\tparent", 1); string(got) != want {
			t.Errorf("hosts:\n%s\nwant:\n%s", got, want)
		}
		if st, err := os.Stat(a.paths.hosts); err != nil || st.Mode().Perm() != 0o640 {
			t.Errorf("hosts file: %v, %v; want its mode as it was", st.Mode(), err)
		}
	})
}

func TestListThatBeginsWithAnotherHeadMovesTheMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, root := &cluster{valid: "first"}, &testRoot{}
		a := testAgent(t, c, root)
		time.AfterFunc(5*time.Second, func() { a.adopted([]wire.Head{h2, h3, h1}) })
		run(t, a, 25*time.Second)
		if d := cmp.Diff([]string{"report h1", "report h2", "report h2"}, c.calls); d != "" {
			t.Errorf("calls (-want +got):\n%s", d)
		}
		if d := cmp.Diff([]string{"reports to h2 now, no longer to h1, since that is what its list of heads says now"}, c.notes); d != "" {
			t.Errorf("notes (-want +got):\n%s", d)
		}
		kept, err := LoadConfig(a.paths.node)
		if d := cmp.Diff([]wire.Head{h2, h3, h1}, kept.Spec.Heads); err != nil || d != "" {
			t.Errorf("kept for the next agent and for kexec: %v (-want +got):\n%s", err, d)
		}
	})
}

func TestBacksOffWhenAllAreSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{valid: "first", down: map[string]bool{"h1": true, "h2": true}}
		run(t, testAgent(t, c, nil), 59*time.Second)
		// At 0, 1, 3, 7, 15, 30, 45 s.
		if len(c.calls) != 7 {
			t.Errorf("%d attempts in a minute, want 7: %v", len(c.calls), c.calls)
		}
	})
}

func TestGreetsAHeadThatDoesNotKnowTheToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, root := &cluster{valid: "second"}, &testRoot{}
		run(t, testAgent(t, c, root), 15*time.Second)
		if d := cmp.Diff([]string{"401 h1", "hello h1", "report h1", "report h1"}, c.calls); d != "" {
			t.Errorf("calls (-want +got):\n%s", d)
		}
		if len(root.heads) == 0 || len(root.heads) > 1 || root.heads[0].Token != "second" {
			t.Errorf("the root device was told %+v, want the new token once", root.heads)
		}
	})
}

func TestGone(t *testing.T) {
	tests := []struct {
		err  error
		want bool
	}{
		{nil, false},
		{syscall.ECONNREFUSED, true},
		{syscall.ENOENT, true},
		{context.DeadlineExceeded, false}, // slow is not dead: two servers of one root must never be
	}
	for _, tt := range tests {
		if got := rootdev.Gone(tt.err); got != tt.want {
			t.Errorf("gone(%v) = %v, want %v", tt.err, got, tt.want)
		}
	}
}
