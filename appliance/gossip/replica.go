package gossip

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"masthead/appliance/state"
)

// Replica is the state of this head, which is that of the others. It is a state.Store; reads are local.
type Replica struct {
	conf Config
	db   *state.DB
	link link

	poked chan struct{} // one token: something changed, the others want a digest
	said  atomic.Pointer[saying]

	mu      sync.Mutex
	peers   map[string]*peer
	list    []*peer // peers by name; replaced, never changed
	asked   []Peer  // what Config.Peers said last
	running bool
	changed chan struct{} // closed and made anew when a peer's answers change
	horizon horizonRule
	warned  map[string]time.Time // events that were told, and when
	group   *errgroup.Group      // of Run, for the peers' goroutines
	ctx     context.Context      // of Run
}

var _ state.Store = (*Replica)(nil)

// New makes a Replica that talks HTTPS and memberlist. Run makes it work; before that, and after, writes are local and
// degraded.
func New(c Config) (*Replica, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	r := newReplica(c)
	r.link = newNetLink(&r.conf, r.heard)
	return r, nil
}

// newReplica wants a valid configuration, and a link afterwards.
func newReplica(c Config) *Replica {
	r := &Replica{
		conf: c, db: c.DB,
		poked:   make(chan struct{}, 1),
		peers:   map[string]*peer{},
		changed: make(chan struct{}),
		warned:  map[string]time.Time{},
	}
	r.refresh()
	return r
}

// Run keeps the heads equal until ctx ends. It returns after all that it started has ended.
func (r *Replica) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	r.mu.Lock()
	r.running, r.group, r.ctx, r.asked = true, g, ctx, nil
	r.mu.Unlock()
	g.Go(func() error { return r.link.run(ctx) })
	g.Go(func() error { r.loop(ctx); return nil })
	err := g.Wait()
	r.mu.Lock()
	r.running, r.group, r.ctx, r.asked = false, nil, nil, nil
	r.peers = map[string]*peer{}
	r.mu.Unlock()
	r.notify()
	r.refresh()
	return err
}

// loop sends digests: every second, and soon after a change.
func (r *Replica) loop(ctx context.Context) {
	t := r.conf.Timing
	tick := time.NewTicker(t.Digest)
	defer tick.Stop()
	r.tick()
	var soon <-chan time.Time // a digest because of a change is due
	var last time.Time
	for {
		poked := r.poked
		if soon != nil {
			poked = nil
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			r.tick()
		case <-poked:
			soon = time.After(max(0, t.DigestMin-time.Since(last)))
		case <-soon:
			soon, last = nil, time.Now()
			r.refresh()
			r.sendDigests()
		}
	}
}

// tick is what happens every second.
func (r *Replica) tick() {
	r.refresh()
	r.sendDigests()
	now := time.Now()
	r.watchOver(now)
	r.forget(now)
}

// watchOver tells of heads that come and go, and wakes who looks after one for whom something is due earlier than it was
// when he lay down: its digests stay away, or its word on our clock is wanted.
func (r *Replica) watchOver(now time.Time) {
	t, held, wall, ours := r.conf.Timing, r.conf.Clock.Held() > 0, r.conf.Clock.Now(), r.db.Summary()
	var heard []func() // Event is not for us to call with the lock
	r.mu.Lock()
	for _, p := range r.list {
		p.urgent = held
		if _, _, next := p.due(now, wall, ours, r.conf.Name, t); next.Before(p.asleep) {
			p.kick()
		}
		before := p.told
		switch {
		case p.alive(now, t):
			p.told = there
		case before == there || now.Sub(p.since) > t.Alive:
			p.told = gone
		}
		after := p.told
		if after != before && !(before == unheard && after == there) { // that it is there at the start is no news
			text := p.describe(now, t)
			heard = append(heard, func() { r.conf.Event(text, after == gone); r.conf.Log.Info(text) })
		}
	}
	r.mu.Unlock()
	for _, tell := range heard {
		tell()
	}
}

// forget moves the horizon if it is ours to move and its time has come.
func (r *Replica) forget(now time.Time) {
	sum := r.db.Summary()
	r.mu.Lock()
	others := make([]sighting, 0, 8) // stays on the stack
	for _, p := range r.list {
		others = append(others, sighting{p.Name, p.wholeAt})
	}
	m, due := r.horizon.step(now, r.conf.Clock.Now(), r.conf.Name, sum, others, r.conf.Timing)
	ctx := r.ctx
	r.mu.Unlock()
	if !due || ctx == nil {
		return
	}
	if _, err := r.db.SetHorizon(ctx, m); err != nil {
		r.conf.Log.Error("move the horizon of deletions", "horizon", m.Time(), "err", err)
		return
	}
	r.poke()
}

// refresh takes over who is a configured head, and starts and ends what belongs to them.
func (r *Replica) refresh() {
	now := r.conf.Peers()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asked != nil && slices.Equal(now, r.asked) {
		return
	}
	r.asked = append([]Peer{}, now...) // not nil
	wanted := map[string]bool{}
	for _, c := range now {
		if c.Name == r.conf.Name {
			continue
		}
		wanted[c.Name] = true
		p := r.peers[c.Name]
		if p == nil {
			p = newPeer(c.Name)
			r.peers[c.Name] = p
		}
		if r.running && p.stop == nil {
			r.start(p)
		}
	}
	for name, p := range r.peers {
		if !wanted[name] {
			delete(r.peers, name)
			if p.stop != nil {
				p.stop()
			}
		}
	}
	r.list = make([]*peer, 0, len(r.peers))
	for _, name := range slices.Sorted(maps.Keys(r.peers)) {
		r.list = append(r.list, r.peers[name])
	}
	r.conf.Clock.setAlone(len(wanted) == 0)
	r.notifyLocked()
}

// start makes a peer's goroutines, which end with Run or with the peer. r.mu is held.
func (r *Replica) start(p *peer) {
	if r.ctx.Err() != nil {
		return
	}
	ctx, stop := context.WithCancel(r.ctx)
	p.stop = stop
	// Follow first: what is committed after it is in the feed, and p.from says where that begins.
	feed := r.db.Follow()
	p.from = r.db.Summary().Seq
	r.group.Go(func() error { defer feed.Close(); r.pushAll(ctx, p, feed); return nil })
	r.group.Go(func() error { r.tend(ctx, p); return nil })
}

// all gives the peers by name.
func (r *Replica) all() []*peer {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.list
}

func (r *Replica) peer(name string) (*peer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.peers[name]; p != nil {
		return p, nil
	}
	return nil, &notConfigured{name}
}

// notConfigured is a name that is no head of this cluster.
type notConfigured struct{ name string }

func (e *notConfigured) Error() string { return fmt.Sprintf("%q is no other configured head", e.name) }

// Try says what helps.
func (e *notConfigured) Try() string { return "masthead head list" }

// poke asks for digests soon.
func (r *Replica) poke() {
	select {
	case r.poked <- struct{}{}:
	default:
	}
}

// notify wakes those who wait for a peer's answers.
func (r *Replica) notify() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notifyLocked()
}

func (r *Replica) notifyLocked() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// warnEvery is how often the same trouble becomes an event again.
const warnEvery = 10 * time.Minute

// warn makes an event of trouble, once in a while.
func (r *Replica) warn(what, text string) {
	now := time.Now()
	r.mu.Lock()
	last, told := r.warned[what]
	again := !told || now.Sub(last) >= warnEvery
	if again {
		r.warned[what] = now
	}
	r.mu.Unlock()
	if again {
		r.conf.Event(text, true)
		r.conf.Log.Warn(text)
	}
}

// Get implements state.Store.
func (r *Replica) Get(k state.Key) (state.Record, error) { return r.db.Get(k) }

// List implements state.Store.
func (r *Replica) List(kind state.Kind, prefix string) []state.Record { return r.db.List(kind, prefix) }

// Watch implements state.Store: changes by all heads.
func (r *Replica) Watch(kinds ...state.Kind) *state.Watch { return r.db.Watch(kinds...) }

// Audit implements state.Store.
func (r *Replica) Audit(limit int) ([]state.AuditEntry, error) { return r.db.Audit(limit) }

// ReadOnly implements state.Store.
func (r *Replica) ReadOnly() error { return r.db.ReadOnly() }
