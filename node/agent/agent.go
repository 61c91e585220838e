// Package agent is what goes on after the root's init has taken over: it tells a head how the machine is, keeps the
// DHCP lease, does what heads have the machine do, and sees to it that the root device and /etc/hosts know which heads
// there are.
//
// It runs from /run, needs nothing of the root, and may be killed and started again at any time.
package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
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
	Mine(context.Context) (wire.Mine, error)
	Channel(context.Context) (io.ReadWriteCloser, error)
	Input(ctx context.Context, id string) (io.ReadCloser, error)
	Close() // connections that nobody uses
}

// Root is the root device's server. rootdev.Control is one.
type Root interface {
	Status(context.Context) (wire.RootStatus, error)
	SetHeads(context.Context, rootdev.Heads) error
}

// paths are the files of the running root, and of /run, that the agent writes.
type paths struct {
	hosts, keys string
	node        string // where init left Config; empty: it is not kept
	scripts     string // folder
}

// Agent is one machine's agent.
type Agent struct {
	cfg    Config
	rec    *stages.Recorder
	root   Root // nil: the root is not ours
	log    *slog.Logger
	dial   func(url, token string) Head
	uptime func() time.Duration
	random func() float64 // in [0, 1), for jitter
	every  time.Duration  // ReportInterval
	paths  paths
	runs   sync.WaitGroup  // commands under way, and the vote
	life   context.Context // of Run
	voting *vote           // nil: this machine is no witness; only for the goroutine that reads the command channel

	mu     sync.Mutex  // over what follows
	heads  []wire.Head // in the order to try; the first is the parent
	known  []wire.Head // the list that heads as a head sent it
	token  string
	client Head               // to the parent; nil: not made yet
	over   context.Context    // ends when the parent is another
	leave  context.CancelFunc // ends over
	turn   int                // grows whenever heads or token change
	told   int                // the turn that the root device and /etc/hosts know
	parent wire.Head          // the last that took a report; zero: none yet
	why    string             // the parent was left
	keys   []string           // SSH keys that the heads gave last
}

// New prepares an agent. root may be nil.
func New(cfg Config, rec *stages.Recorder, root Root, log *slog.Logger) *Agent {
	a := &Agent{
		cfg: cfg, rec: rec, root: root, log: log, uptime: func() time.Duration { return stages.Uptime() - cfg.Began }, random: rand.Float64, every: ReportInterval,
		turn: 1, heads: cfg.Spec.Heads, known: cfg.Spec.Heads, token: cfg.Spec.Token, keys: cfg.Spec.SSHKeys,
		paths: paths{hosts: "/etc/hosts", keys: "/root/.ssh/authorized_keys", node: images.RunNode, scripts: images.RunDir + "/commands"},
	}
	a.dial = func(url, token string) Head { return wire.NewClient(url, cfg.CA, token) }
	if len(a.heads) == 0 && cfg.Role == images.RoleHead {
		// A head that booted by itself reports to itself, over the socket that only root may use.
		a.heads = []wire.Head{{Name: "local", URL: images.APISocket}}
		a.dial = func(string, string) Head { return wire.NewUnixClient(images.APISocket) }
	}
	return a
}

// Run blocks until ctx ends, and the commands under way with it.
func (a *Agent) Run(ctx context.Context) error {
	a.rec.Begin(wire.StageUp)
	a.rec.End("", nil, "")
	defer a.hangUp()
	g, ctx := errgroup.WithContext(ctx)
	a.life = ctx
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
	g.Go(func() error { return a.keepClock(ctx) })
	g.Go(func() error { return a.attach(ctx) })
	err := g.Wait()
	a.runs.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// connection is the way to the parent: a client, and a context that ends when the parent is another.
func (a *Agent) connection() (Head, wire.Head, context.Context) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.heads) == 0 {
		return nil, wire.Head{}, nil
	}
	if a.client == nil {
		a.client = a.dial(a.heads[0].URL, a.token)
		a.over, a.leave = context.WithCancel(context.Background())
	}
	return a.client, a.heads[0], a.over
}

// changed drops the way to the parent, after the parent or the token has changed. The caller holds mu.
func (a *Agent) changed() {
	a.turn++
	if a.client == nil {
		return
	}
	a.leave()
	a.client.Close()
	a.client = nil
}

func (a *Agent) hangUp() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.changed()
}

// report tells the parent how the machine is, again and again. A parent that does not answer goes to the end of the
// list.
func (a *Agent) report(ctx context.Context) error {
	if a.cfg.MAC == "" {
		return nil // as with attach
	}
	pause := time.Duration(0)
	retry := retryFirst
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(jitter(pause, a.random())):
		}
		_, parent, _ := a.connection()
		if parent.URL == "" {
			return nil // nobody to tell: the image was started by hand
		}
		err := a.once(ctx)
		if err == nil {
			pause, retry = a.every, retryFirst
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		a.log.Warn("report", "head", parent.URL, "err", err)
		a.giveUp(parent, err)
		pause = retry
		retry = min(2*retry, retryMost)
	}
}

// giveUp makes the next head the parent, if parent still is the one.
func (a *Agent) giveUp(parent wire.Head, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.heads) < 2 || a.heads[0] != parent {
		return
	}
	if parent == a.parent {
		a.why = "it does not answer: " + err.Error()
	}
	a.heads = rotate(a.heads)
	a.changed()
}

// once makes one report to the parent. A head that does not know our token any more is greeted anew.
func (a *Agent) once(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	head, parent, _ := a.connection()
	// All stages in each report: a head that was killed may have lost those of its last seconds, and cannot know it.
	r := wire.Report{Boot: a.cfg.Boot, MAC: a.cfg.MAC, Stages: a.rec.All(), Uptime: a.uptime().Seconds(), Running: a.cfg.Image, Note: a.moved(parent)}
	if a.root != nil {
		if status, err := a.root.Status(ctx); err != nil {
			r.Note = join(r.Note, fmt.Sprintf("the root device does not answer: %v", err))
		} else {
			r.Root = &status
		}
	}
	err := head.Report(ctx, r)
	var p *wire.ProblemError
	if errors.As(err, &p) && (p.Problem.Status == http.StatusUnauthorized || p.Problem.Status == http.StatusNotFound) {
		if err = a.greet(ctx, parent); err == nil {
			head, parent, _ = a.connection()
			err = head.Report(ctx, r)
		}
	}
	if err == nil {
		a.settle(ctx, parent)
	}
	return err
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

// moved is what a head is told that has become the parent in place of another; empty if it was before.
func (a *Agent) moved(parent wire.Head) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.parent.URL == "" || a.parent.URL == parent.URL {
		return ""
	}
	text := fmt.Sprintf("reports to %s now, no longer to %s", parent.Name, a.parent.Name)
	if a.why != "" {
		text += ", since " + a.why
	}
	return text
}

// settle tells the root device and /etc/hosts of a parent that has taken a report. Until one has, nothing is changed: a
// machine whose heads are all silent tries them in turn for as long as it takes.
func (a *Agent) settle(ctx context.Context, parent wire.Head) {
	a.mu.Lock()
	turn, known, first := a.turn, a.told == a.turn, a.told == 0
	heads := rootdev.Heads{Heads: slices.Clone(a.heads), CA: a.cfg.CA, Token: a.token}
	before := a.parent
	a.parent, a.why = parent, ""
	a.mu.Unlock()
	if known || a.cfg.Role == images.RoleHead {
		return
	}
	// At first it is what init told it, but for the order.
	if a.root != nil && !(first && len(heads.Heads) == 1 && heads.Token == a.cfg.Spec.Token) {
		if err := a.root.SetHeads(ctx, heads); err != nil {
			a.log.Warn("tell the root device its heads", "err", err)
			return // the next report tries again
		}
	}
	if address := AddressOf(parent.URL); address.IsValid() {
		if _, err := edit(a.paths.hosts, 0o644, func(text string) string { return withParent(text, address) }); err != nil {
			a.log.Warn("parent in the hosts file", "err", err) // a root that is read-only keeps the one of its boot
		}
	}
	if before != parent && !first {
		a.log.Info("new parent", "head", parent.URL)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.told = turn // a change meanwhile is another turn
}

// greet says hello again, and takes over the token and the list of heads. It shows no token: one that is not valid is
// refused, also where none is needed.
func (a *Agent) greet(ctx context.Context, parent wire.Head) error {
	head := a.dial(parent.URL, "")
	defer head.Close()
	spec, err := head.Hello(ctx, a.cfg.Hello())
	if err != nil {
		return fmt.Errorf("hello: %w", err)
	}
	if spec.Token == "" {
		return fmt.Errorf("hello: %s: %s", spec.Verdict, spec.Reason)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.token != spec.Token {
		a.token = spec.Token
		a.changed()
	}
	a.take(spec.Heads)
	return nil
}

// adopted takes over a list of heads that the parent sent. It gives the list as it is tried from now on.
func (a *Agent) adopted(list []wire.Head) []wire.Head {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.take(list)
	return slices.Clone(a.heads)
}

// take is adopted for who holds mu.
func (a *Agent) take(list []wire.Head) {
	if len(list) == 0 || a.cfg.Role == images.RoleHead || slices.Equal(list, a.known) {
		return
	}
	heads := adopt(a.heads, a.known, list)
	a.known = slices.Clone(list)
	if heads[0] != a.heads[0] {
		a.why = "that is what its list of heads says now"
		a.changed()
	}
	a.heads = heads
	a.turn++ // others behind the same parent are news to the root device too
	a.keep()
}

// list names the list of heads that this machine has.
func (a *Agent) list() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return wire.HeadList(a.known)
}

// keep leaves what was learned for an agent that is started again, and for kexec. The caller holds mu.
func (a *Agent) keep() {
	if a.paths.node == "" {
		return
	}
	cfg := a.cfg
	cfg.Spec.Heads, cfg.Spec.Token, cfg.Spec.SSHKeys = a.known, a.token, a.keys
	if err := cfg.Save(a.paths.node); err != nil {
		a.log.Warn("keep what the head said", "err", err)
	}
}
