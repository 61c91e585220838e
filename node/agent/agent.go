// Package agent is what goes on after the root's init has taken over: it tells a head how the machine is, keeps the
// DHCP lease, and sees to it that the root device knows which heads there are.
//
// It runs from /run, needs nothing of the root, and may be killed and started again at any time.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"masthead/images"
	"masthead/node/netif"
	"masthead/node/rootdev"
	"masthead/node/stages"
	"masthead/node/wire"
)

const (
	// ReportInterval is the time between two reports of a machine that is well: five thousand machines make five hundred
	// small requests a second of it, which one head serves in passing.
	ReportInterval = 10 * time.Second
	// retryFirst and retryMost bound the pause after a report that nobody took.
	retryFirst = time.Second
	retryMost  = 15 * time.Second
	// reportTimeout is how long one head may take to answer before the next is asked.
	reportTimeout = 5 * time.Second
)

// Head is what the agent says to a head. *wire.Client is one.
type Head interface {
	Hello(context.Context, wire.Hello) (wire.Spec, error)
	Report(context.Context, wire.Report) error
}

// Root is the root device's server. rootdev.Control is one.
type Root interface {
	Status(context.Context) (wire.RootStatus, error)
	SetHeads(context.Context, rootdev.Heads) error
}

// Agent is one machine's agent.
type Agent struct {
	cfg    Config
	rec    *stages.Recorder
	root   Root // nil: the root is not ours
	log    *slog.Logger
	dial   func(url, token string) Head
	uptime func() time.Duration

	mu    sync.Mutex // over what follows: the report changes it, the revival reads it
	heads []wire.Head
	token string
}

// New prepares an agent. root may be nil.
func New(cfg Config, rec *stages.Recorder, root Root, log *slog.Logger) *Agent {
	a := &Agent{cfg: cfg, rec: rec, root: root, log: log, heads: cfg.Spec.Heads, token: cfg.Spec.Token, uptime: stages.Uptime}
	a.dial = func(url, token string) Head { return wire.NewClient(url, cfg.CA, token) }
	if len(a.heads) == 0 && cfg.Role == images.RoleHead {
		// A head that booted by itself reports to itself, over the socket that only root may use.
		a.heads = []wire.Head{{Name: "local", URL: images.APISocket}}
		a.dial = func(string, string) Head { return wire.NewUnixClient(images.APISocket) }
	}
	return a
}

// Run blocks until ctx ends.
func (a *Agent) Run(ctx context.Context) error {
	a.rec.Begin(wire.StageUp)
	a.rec.End("", nil, "")
	g, ctx := errgroup.WithContext(ctx)
	for _, result := range []*netif.Result{a.cfg.Net, a.cfg.Uplink} {
		if result == nil || result.Lease == nil {
			continue
		}
		renewer, err := netif.NewRenewer(*result, func(e netif.Event) { a.log.Info("lease", "event", e.String()) }, a.log)
		if err != nil {
			return err
		}
		g.Go(func() error { return renewer.Run(ctx) })
	}
	g.Go(func() error { return a.report(ctx) })
	g.Go(func() error { return a.revive(ctx) })
	err := g.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// report tells the first head of the list how the machine is, again and again. A head that does not answer goes to the
// end of the list (seed 000, "Booting With Multiple Head Nodes").
func (a *Agent) report(ctx context.Context) error {
	pause := time.Duration(0)
	retry := retryFirst
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		if len(a.heads) == 0 {
			return nil // nobody to tell: the image was started by hand
		}
		err := a.once(ctx)
		if err == nil {
			pause, retry = ReportInterval, retryFirst
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		a.log.Warn("report", "head", a.heads[0].URL, "err", err)
		a.rotate()
		pause = retry
		retry = min(2*retry, retryMost)
	}
}

// rotate moves the first head to the end of the list.
func (a *Agent) rotate() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.heads = append(slices.Clone(a.heads[1:]), a.heads[0])
}

// once makes one report to the first head. A head that does not know our token any more is greeted anew.
func (a *Agent) once(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	head := a.dial(a.heads[0].URL, a.token)
	// All stages in each report: a head that was killed may have lost those of its last seconds, and cannot know it.
	r := wire.Report{Boot: a.cfg.Boot, MAC: a.cfg.MAC, Stages: a.rec.All(), Uptime: a.uptime().Seconds(), Running: a.cfg.Image}
	if a.root != nil {
		if status, err := a.root.Status(ctx); err != nil {
			r.Note = fmt.Sprintf("the root device does not answer: %v", err)
		} else {
			r.Root = &status
		}
	}
	err := head.Report(ctx, r)
	var p *wire.ProblemError
	if errors.As(err, &p) && (p.Problem.Status == http.StatusUnauthorized || p.Problem.Status == http.StatusNotFound) {
		if err = a.greet(ctx, head); err == nil {
			err = a.dial(a.heads[0].URL, a.token).Report(ctx, r)
		}
	}
	return err
}

// greet says hello again, and takes over the token and the list of heads.
func (a *Agent) greet(ctx context.Context, head Head) error {
	spec, err := head.Hello(ctx, a.cfg.Hello())
	if err != nil {
		return fmt.Errorf("hello: %w", err)
	}
	if spec.Token == "" {
		return fmt.Errorf("hello: %s: %s", spec.Verdict, spec.Reason)
	}
	a.mu.Lock()
	a.token = spec.Token
	if len(spec.Heads) > 0 {
		a.heads = spec.Heads
	}
	a.mu.Unlock()
	if a.root == nil || a.cfg.Role == images.RoleHead {
		return nil
	}
	return a.root.SetHeads(ctx, rootdev.Heads{Heads: a.heads, CA: a.cfg.CA, Token: a.token})
}
