package service

import (
	"context"
	"maps"
	"net/netip"
	"slices"

	"golang.org/x/sync/errgroup"

	"masthead/appliance/failover"
	"masthead/node/wire"
)

// Wish says what is to become of all services, and under which epoch; Run performs it. What is wished later counts. Saying the same
// again costs nothing.
func (g *Group) Wish(w failover.Wish, epoch uint64) {
	g.mu.Lock()
	news := g.plan.set(w, epoch)
	g.mu.Unlock()
	if news {
		g.wake()
	}
}

// Poke has Config.Wish asked again at once.
func (g *Group) Poke() { g.wake() }

// Clear gives a service that has failed here a new chance; empty: all of them.
func (g *Group) Clear(service string) {
	g.mu.Lock()
	for _, e := range g.plan.entries {
		if service == "" || e.service.Name == service {
			g.plan.clear(e)
		}
	}
	g.mu.Unlock()
	g.wake()
}

// Services is how all of them stand.
func (g *Group) Services() failover.Services {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.plan.services(g.cfg.Now())
}

// Answering are the addresses of ip resources that run: nobody may answer for the others.
func (g *Group) Answering() []netip.Addr {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.plan.answering()
}

// Relocate is why another head should own the cluster: a service that cannot run here. Empty: nothing asks for it.
func (g *Group) Relocate() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.plan.relocate()
}

// States gives the services in the order of the configuration, as clustat(8) would show them. Last is left to who knows.
func (g *Group) States() []wire.ServiceState {
	g.mu.Lock()
	defer g.mu.Unlock()
	ready := g.plan.ready()
	var list []wire.ServiceState
	for _, e := range g.plan.entries {
		if e.retired && g.plan.find(e.service.Name) != nil {
			continue // its successor waits for it
		}
		s := wire.ServiceState{Name: e.service.Name, Restarts: len(e.failures), Since: g.wall(e.since)}
		s.State, s.Reason = g.plan.stateOf(e, ready)
		if !e.down() {
			s.Owner = g.cfg.Self
		}
		if e.givenUp() && e.wish == Enabled && !e.retired {
			s.GivenUp = e.failed
		}
		for i, r := range e.service.Resources {
			a := wire.ResourceState{Name: r.Label(), Kind: r.Kind(), Since: g.wall(e.parts[i].since)}
			a.State, a.Reason = e.partState(i)
			s.Resources = append(s.Resources, a)
		}
		list = append(list, s)
	}
	return list
}

// Reload makes cfg the configuration: its services, domains, heads, wishes and addresses; the rest stays as New had it. Services that
// are new start if that is wished, those that are gone stop, those of which a resource is another restart, and the others
// are not touched. An error changes nothing.
func (g *Group) Reload(cfg Config) error {
	g.mu.Lock()
	next := g.cfg
	g.mu.Unlock()
	next.Services, next.Domains, next.Heads = cfg.Services, cfg.Domains, cfg.Heads
	next.Wish, next.Addresses = cfg.Wish, cfg.Addresses
	if err := next.validate(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), DefaultCheck)
	defer cancel()
	next.Services = g.advised(ctx, next.Services)
	g.mu.Lock()
	g.cfg = next
	g.version++
	g.configure(next)
	g.mu.Unlock()
	g.wake()
	return nil
}

// advise fills in what the agents of the first configuration advise.
func (g *Group) advise(ctx context.Context) {
	g.mu.Lock()
	before, version := g.cfg.Services, g.version
	g.mu.Unlock()
	services := g.advised(ctx, before)
	g.mu.Lock()
	defer g.mu.Unlock()
	if version == g.version {
		g.cfg.Services = services
		g.configure(g.cfg)
		g.wake() // a service that had failed may have another chance
	}
}

// advised asks the agents of services for their advice, each once, and gives services with it.
func (g *Group) advised(ctx context.Context, services []Service) []Service {
	env := []string{"PATH=" + path, "LC_ALL=C.UTF-8"}
	wanted := map[agent]bool{}
	for _, s := range services {
		for _, r := range s.Resources {
			if r.OCF != nil {
				a, _ := parseAgent(r.OCF.Agent)
				wanted[a] = true
			}
		}
	}
	g.adviceMu.Lock()
	known := maps.Clone(g.advice)
	g.adviceMu.Unlock()
	var ask errgroup.Group
	ask.SetLimit(4)
	for a := range wanted {
		if _, ok := known[a]; ok {
			continue
		}
		ask.Go(func() error {
			ctx, cancel := context.WithTimeoutCause(ctx, DefaultCheck, timeoutError{DefaultCheck})
			defer cancel()
			m, err := a.advice(ctx, g.world.run, env)
			if err != nil {
				g.world.log.Warn("an agent does not say what it is", "err", err) // it may lie on a file system of the service
				return nil
			}
			g.adviceMu.Lock()
			g.advice[a] = m
			g.adviceMu.Unlock()
			return nil
		})
	}
	_ = ask.Wait()
	g.adviceMu.Lock()
	defer g.adviceMu.Unlock()
	services = slices.Clone(services)
	for i := range services {
		services[i].Resources = slices.Clone(services[i].Resources)
		for j, r := range services[i].Resources {
			if r.OCF == nil {
				continue
			}
			a, _ := parseAgent(r.OCF.Agent)
			m, ok := g.advice[a]
			if !ok {
				continue
			}
			services[i].Resources[j] = m.advised(r)
			for _, o := range m.objections(r) {
				g.tell("service "+services[i].Name+": "+r.Label()+": "+o, true)
			}
		}
	}
	return services
}
