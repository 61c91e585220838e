package gossip

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"masthead/appliance/state"
)

// simHead is a machine: a disk, a clock, and a process that comes and goes.
type simHead struct {
	name string
	dir  string
	skew atomic.Int64 // nanoseconds that its wall clock is off
	now  *incarnation // network.mu; nil: the machine is off
	old  [][]byte     // its file as it was at quiet hours, the latest last
}

// incarnation is one run of the process.
type incarnation struct {
	name string
	off  atomic.Bool // it hears and says nothing: the power goes
	db   *state.DB
	r    *Replica
	stop context.CancelFunc
	done chan struct{}
}

func (h *simHead) wall() time.Time { return time.Now().Add(time.Duration(h.skew.Load())) }

// cluster is some heads, and who of them is configured.
type cluster struct {
	t      testing.TB
	net    *network
	timing Timing
	log    *slog.Logger
	events func(head, text string, failed bool)
	wrong  func(format string, args ...any) // what must never be seen was

	names atomic.Pointer[[]string] // configured heads
}

func newCluster(t testing.TB, seed uint64, timing Timing, names ...string) *cluster {
	c := &cluster{t: t, timing: timing, log: slog.New(slog.DiscardHandler), events: func(string, string, bool) {}, wrong: t.Errorf}
	c.net = &network{seed: seed, heads: map[string]*simHead{}, cut: map[[2]string]int{}, count: map[[2]string]uint64{}, latest: map[[2]string]time.Time{}}
	if os.Getenv("MASTHEAD_DEBUG") != "" {
		c.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	c.names.Store(&names)
	dir := fastDir(t)
	for _, name := range names {
		c.net.heads[name] = &simHead{name: name, dir: filepath.Join(dir, name)}
	}
	for i, name := range names {
		c.start(name)
		if i == 0 { // the founder; the others are rebuilt from it, as heads that join are
			if err := c.at(name).db.SetComplete(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return c
}

// fastDir is a folder in memory where there is one: commits are then as fast as the simulation needs.
func fastDir(t testing.TB) string {
	if dir, err := os.MkdirTemp("/dev/shm", "masthead-gossip-"); err == nil {
		t.Cleanup(func() { os.RemoveAll(dir) })
		return dir
	}
	return t.TempDir()
}

func (c *cluster) configured(name string) bool { return slices.Contains(*c.names.Load(), name) }

func (c *cluster) at(name string) *incarnation { return c.net.at(name) }

// open opens the disk of a machine that is off.
func (c *cluster) open(h *simHead, clock *Clock) *state.DB {
	db, err := state.Open(state.Config{Dir: h.dir, Head: h.name, Now: clock.Now, ReserveSize: 4096})
	if err != nil {
		c.t.Fatal(err)
	}
	return db
}

// start turns a machine on.
func (c *cluster) start(name string) {
	h := c.net.heads[name]
	clock := NewClock(h.wall)
	for n := range 100 { // there are only so many names for files that were moved aside
		if os.Remove(fmt.Sprintf("%s/state.db.old.%02d", h.dir, n)) != nil {
			break
		}
	}
	conf := Config{
		Name: name, Version: "sim", DB: c.open(h, clock), Clock: clock, Timing: c.timing,
		Log:   c.log.With("at", name),
		Event: func(text string, failed bool) { c.events(name, text, failed) },
		Peers: c.peersOf(name),
	}
	if err := conf.validate(); err != nil {
		c.t.Fatal(err)
	}
	inc := &incarnation{name: name, db: conf.DB, r: newReplica(conf), done: make(chan struct{})}
	inc.r.link = &simLink{c.net, inc}
	ctx, stop := context.WithCancel(context.Background())
	inc.stop = stop
	c.net.mu.Lock()
	h.now = inc
	c.net.mu.Unlock()
	watched := make(chan struct{})
	watch := inc.db.Watch(state.KindNode)
	go func() { // ends with ctx
		defer close(watched)
		defer watch.Close()
		c.onlyForward(ctx, name, clock, watch)
	}()
	go func() {
		defer close(inc.done)
		defer func() { <-watched }()
		if err := inc.r.Run(ctx); err != nil {
			c.t.Errorf("%s: Run: %v", name, err)
		}
	}()
}

// onlyForward sees to it that who reads on one head never sees an older version of a key after a later one: what was
// deleted does not come back even for a moment. Nor does it see what another head's clock puts in the future.
func (c *cluster) onlyForward(ctx context.Context, head string, clock *Clock, watch *state.Watch) {
	seen := map[state.Key]state.Record{}
	for {
		records, err := watch.Next(ctx)
		if err != nil {
			return
		}
		for _, r := range records {
			if old, ok := seen[r.Key]; ok && r.Version.Compare(old.Version) < 0 {
				c.wrong("%s shows %v %s (deleted %t) after %v %s (deleted %t)", head, r.Version, r.Value, r.Deleted, old.Version, old.Value, old.Deleted)
			}
			if lead := r.Version.HLC.Time().Sub(clock.Now()); r.Version.Head != head && lead > state.MaxSkew {
				c.wrong("%s shows %v %s, %v ahead of its clock", head, r.Version, r.Value, lead)
			}
			seen[r.Key] = r
		}
	}
}

// crash turns a machine off. What is durable stays.
func (c *cluster) crash(name string) {
	inc := c.at(name)
	if inc == nil {
		return
	}
	inc.off.Store(true)
	c.net.mu.Lock()
	c.net.heads[name].now = nil
	c.net.mu.Unlock()
	inc.stop()
	<-inc.done
	if err := inc.db.Close(); err != nil {
		c.t.Error(err)
	}
}

func (c *cluster) stopAll() {
	for name := range c.net.heads {
		c.crash(name)
	}
}

// up lists the configured machines that are on.
func (c *cluster) up() []string {
	var list []string
	for _, n := range *c.names.Load() {
		if c.at(n) != nil {
			list = append(list, n)
		}
	}
	return list
}

// equal tells whether all configured heads are on and have the same bytes, and all that they have.
func (c *cluster) equal() bool {
	var root state.Hash
	for i, n := range *c.names.Load() {
		h := c.at(n)
		if h == nil {
			return false
		}
		s := h.db.Summary()
		if i == 0 {
			root = s.Root
		}
		if s.Root != root || !s.Complete {
			return false
		}
	}
	return true
}

// awaitEqual waits for that, and gives how long it took.
func (c *cluster) awaitEqual(limit time.Duration) (time.Duration, bool) {
	start := time.Now()
	for !c.equal() {
		if time.Since(start) > limit {
			return limit, false
		}
		time.Sleep(50 * time.Millisecond)
	}
	return time.Since(start), true
}

// cut cuts the link between two heads, or heals it, both ways.
func (c *cluster) cut(a, b string, is bool) {
	by := -1
	if is {
		by = 1
	}
	c.net.cutLinks(by, [2]string{a, b}, [2]string{b, a})
}

// peersOf gives who is configured besides a head, and remembers the answer as long as it is right.
func (c *cluster) peersOf(name string) func() []Peer {
	var mu sync.Mutex
	var of *[]string
	var list []Peer
	return func() []Peer {
		mu.Lock()
		defer mu.Unlock()
		names := c.names.Load()
		if names == of {
			return list
		}
		of, list = names, []Peer{}
		if c.configured(name) {
			for _, n := range *names {
				if n != name {
					list = append(list, Peer{Name: n})
				}
			}
		}
		return list
	}
}
