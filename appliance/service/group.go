package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"masthead/appliance/failover"
)

const (
	// wishEvery is how often Config.Wish is asked when nothing else happens.
	wishEvery = time.Second
	// leaveGrace is how long Run waits at its end for operations that the kernel holds.
	leaveGrace = killGrace + 5*time.Second
)

// Group is the services of this head.
type Group struct {
	world    world
	boot     string
	zero     time.Time                   // of Config.Now, by the wall clock
	event    func(text string, bad bool) // nil: only the log
	poke     chan struct{}
	wg       sync.WaitGroup // operations under way
	adviceMu sync.Mutex     // over advice
	advice   map[agent]Metadata

	mu       sync.Mutex // over what follows
	cfg      Config
	version  int // of cfg
	plan     plan
	cancels  map[*part]context.CancelCauseFunc // of the operations under way
	written  []byte                            // to the record
	trouble  string                            // with the record, as it was told last
	reported map[*entry]string                 // the state that was told last
}

// New prepares the services. It reads what an earlier run of the daemon has started, and starts nothing.
func New(cfg Config) (*Group, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Record == "" {
		cfg.Record = DefaultRecord
	}
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, fmt.Errorf("services: %w", err)
	}
	g := &Group{
		world: world{run: execute, links: kernelLinks{&netlink.Handle{}}, systemd: booted, log: cfg.Log},
		boot:  strings.TrimSpace(string(boot)), zero: time.Now().Add(-cfg.Now()).Round(0), cfg: cfg, event: cfg.Event, poke: make(chan struct{}, 1),
		advice: map[agent]Metadata{}, cancels: map[*part]context.CancelCauseFunc{}, reported: map[*entry]string{},
	}
	old, err := readRecord(cfg.Record, g.boot)
	if err != nil {
		// Without it what runs is stopped and started again, as if it were not ours.
		g.tell(err.Error(), true)
	}
	g.plan.restore(old, func(t time.Time) failover.Instant { return t.Sub(g.zero) })
	g.configure(cfg)
	return g, nil
}

func (c Config) validate() error {
	var errs []error
	if c.Self == "" || c.Now == nil {
		errs = append(errs, errors.New("services: Config needs Self and Now"))
	}
	errs = append(errs, Validate(c.Services, c.Domains, c.Heads))
	for _, s := range c.Services {
		for _, r := range s.Resources {
			if r.IP != nil && c.Addresses == nil {
				errs = append(errs, &Invalid{Service: s.Name, Resource: r.Label(), Field: "ip", Value: r.IP.Address.String(), Reason: "this head keeps no addresses for services"})
			}
		}
	}
	return errors.Join(errs...)
}

// configure is plan.configure with the domains of cfg. The caller holds mu, or is New.
func (g *Group) configure(cfg Config) {
	g.plan.configure(cfg.Services, func(s Service) (string, bool) { return barred(s, cfg) })
}

// Run performs what was wished until ctx ends. Operations under way are broken off then; what runs goes on running, for the
// next run of the daemon to adopt.
func (g *Group) Run(ctx context.Context) error {
	var advisor sync.WaitGroup
	advisor.Go(func() { g.advise(ctx) }) // ends with ctx
	defer advisor.Wait()
	tick := time.NewTimer(0)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			ended := make(chan struct{})
			go func() { // ends with the operations
				g.wg.Wait()
				close(ended)
			}()
			late := time.NewTimer(leaveGrace)
			defer late.Stop()
			select {
			case <-ended:
			case <-late.C:
				g.tell("an operation of a service hangs in the kernel and is left behind", true)
			}
			g.note()
			return nil
		case <-g.poke:
		case <-tick.C:
		}
		tick.Reset(g.turn(ctx))
	}
}

// turn begins and breaks off what is due, and gives the time until the next turn.
func (g *Group) turn(ctx context.Context) time.Duration {
	who := g.ask()
	g.mu.Lock()
	now := g.cfg.Now()
	begin := g.plan.next(now)
	for _, a := range g.plan.breakOff(now) {
		if cancel := g.cancels[&a.entry.parts[a.part]]; cancel != nil {
			cancel(errCut)
		}
	}
	world := g.world
	world.addresses, world.volumes = g.cfg.Addresses, g.cfg.Volumes
	var jobs []func()
	for _, a := range begin {
		op, cancel := context.WithCancelCause(ctx)
		g.cancels[&a.entry.parts[a.part]] = cancel
		j := g.job(a, who)
		jobs = append(jobs, func() {
			defer cancel(nil)
			g.ended(a, world.operate(op, j))
		})
	}
	pause := time.Minute
	if g.cfg.Wish != nil {
		pause = wishEvery
	}
	if at, ok := g.plan.wake(now); ok {
		pause = min(pause, max(at-now, time.Millisecond))
	}
	news := g.news()
	g.mu.Unlock()
	g.note() // before anything of it begins
	for _, run := range jobs {
		g.wg.Go(run) // ends with ctx
	}
	news()
	return pause
}

// circumstances are what the environment of actions says beside the plan.
type circumstances struct {
	owner string
	gen   uint64
}

// ask takes the wishes for single services, and the circumstances. It calls what the configuration gave without mu: that
// may have locks of its own.
func (g *Group) ask() (who circumstances) {
	g.mu.Lock()
	cfg := g.cfg
	entries := slices.Clone(g.plan.entries)
	wishes := make([]string, len(entries))
	for i, e := range entries {
		wishes[i] = e.service.Name
	}
	g.mu.Unlock()
	for i, name := range wishes {
		wishes[i] = ""
		if cfg.Wish != nil {
			wishes[i] = cfg.Wish(name)
		}
	}
	if cfg.Owner != nil {
		who.owner = cfg.Owner()
	}
	if cfg.Gen != nil {
		who.gen = cfg.Gen()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, e := range entries {
		g.plan.wish(e, wishes[i])
	}
	return who
}

// job is an operation with its environment. The caller holds mu.
func (g *Group) job(a action, who circumstances) job {
	if g.plan.asked && g.plan.want == failover.Run {
		who.owner = g.cfg.Self
	}
	r := a.entry.service.Resources[a.part]
	return job{service: a.entry.service.Name, res: r, op: a.op, limit: r.limit(a.op), env: []string{
		"PATH=" + path, "HOME=/root", "LOGNAME=root", "USER=root", "SHELL=/bin/sh", "LC_ALL=C.UTF-8",
		"MASTHEAD_EPOCH=" + strconv.FormatUint(g.plan.epoch, 10), "MASTHEAD_CLUSTER_GEN=" + strconv.FormatUint(who.gen, 10),
		"MASTHEAD_SERVICE=" + a.entry.service.Name, "MASTHEAD_RESOURCE=" + r.Label(), "MASTHEAD_OWNER=" + who.owner,
	}}
}

// ended takes the result of an operation.
func (g *Group) ended(a action, r result) {
	g.mu.Lock()
	g.plan.ended(a, r, g.cfg.Now())
	delete(g.cancels, &a.entry.parts[a.part])
	text := fmt.Sprintf("service %s: %s: %s: %v", a.entry.service.Name, a.entry.service.Resources[a.part].Label(), a.op, r.err)
	g.mu.Unlock()
	if r.err != nil && !r.cut && a.op != check {
		g.tell(text, true)
	}
	g.wake()
}

func (g *Group) wake() {
	select {
	case g.poke <- struct{}{}:
	default:
	}
}

// note writes the record where it has changed.
func (g *Group) note() {
	g.mu.Lock()
	data, err := g.plan.record(g.boot, g.wall).encode()
	file, same := g.cfg.Record, bytes.Equal(data, g.written)
	g.mu.Unlock()
	if err == nil && !same {
		err = writeRecord(file, data)
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	g.mu.Lock()
	if err == nil {
		g.written = data
	}
	news := text != g.trouble
	g.trouble = text
	g.mu.Unlock()
	if news && err != nil {
		g.tell(text, true)
	}
}

func (g *Group) wall(t failover.Instant) time.Time { return g.zero.Add(t) }
