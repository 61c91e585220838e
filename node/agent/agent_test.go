package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
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
	down   map[string]bool
	valid  string // the token that the heads take
	calls  []string
	stages []int // number of stages in each report that was taken
}

type testHead struct {
	c          *cluster
	url, token string
}

func (h testHead) Hello(context.Context, wire.Hello) (wire.Spec, error) {
	h.c.calls = append(h.c.calls, "hello "+h.url)
	return wire.Spec{Verdict: wire.VerdictBoot, Token: h.c.valid}, nil
}

func (h testHead) Report(_ context.Context, r wire.Report) error {
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
	return nil
}

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

func testAgent(c *cluster, root Root) *Agent {
	cfg := Config{Role: images.RoleWorker, Boot: "b", MAC: "52:54:00:77:00:0a", Spec: wire.Spec{
		Token: "first", Heads: []wire.Head{{Name: "h1", URL: "h1"}, {Name: "h2", URL: "h2"}},
	}}
	a := New(cfg, &stages.Recorder{Uptime: func() time.Duration { return time.Second }}, root, slog.New(slog.DiscardHandler))
	a.uptime = func() time.Duration { return time.Second }
	a.dial = func(url, token string) Head { return testHead{c, url, token} }
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
		run(t, testAgent(c, nil), 25*time.Second)
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
		run(t, testAgent(c, nil), 15*time.Second)
		// The one that answered stays the parent: no going back by itself.
		if d := cmp.Diff([]string{"down h1", "report h2", "report h2"}, c.calls); d != "" {
			t.Errorf("calls (-want +got):\n%s", d)
		}
	})
}

func TestBacksOffWhenAllAreSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{valid: "first", down: map[string]bool{"h1": true, "h2": true}}
		run(t, testAgent(c, nil), 59*time.Second)
		// At 0, 1, 3, 7, 15, 30, 45 s.
		if len(c.calls) != 7 {
			t.Errorf("%d attempts in a minute, want 7: %v", len(c.calls), c.calls)
		}
	})
}

func TestGreetsAHeadThatDoesNotKnowTheToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, root := &cluster{valid: "second"}, &testRoot{}
		run(t, testAgent(c, root), 15*time.Second)
		if d := cmp.Diff([]string{"401 h1", "hello h1", "report h1", "report h1"}, c.calls); d != "" {
			t.Errorf("calls (-want +got):\n%s", d)
		}
		if len(root.heads) != 1 || root.heads[0].Token != "second" {
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
		if got := gone(tt.err); got != tt.want {
			t.Errorf("gone(%v) = %v, want %v", tt.err, got, tt.want)
		}
	}
}
