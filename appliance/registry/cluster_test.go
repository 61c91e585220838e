package registry

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"

	"masthead/appliance/state"
	"masthead/images"
	"masthead/node/wire"
)

// cluster is heads with a state each, joined by the simplest replicator there is: what one writes the others merge, at
// once, or when the network is whole again.
type cluster struct {
	names []string
	db    map[string]*state.DB
	reg   map[string]*Registry
	stop  func()

	mu     sync.Mutex
	cut    map[string]bool // heads that nobody reaches
	healed chan struct{}   // closed by the next heal
}

var subnet = netip.MustParsePrefix("10.0.0.0/16")

// newCluster makes heads head1, head2, …; the slots go round. It must be used in a synctest bubble.
func newCluster(t testing.TB, dirs ...string) *cluster {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := &cluster{db: map[string]*state.DB{}, reg: map[string]*Registry{}, cut: map[string]bool{}, healed: make(chan struct{})}
	var all sync.WaitGroup
	for i, dir := range dirs {
		name := fmt.Sprintf("head%d", i+1)
		db, err := state.Open(state.Config{Dir: dir, Head: name})
		if err != nil {
			t.Fatal(err)
		}
		c.names, c.db[name] = append(c.names, name), db
	}
	for _, from := range c.names {
		for _, to := range c.names {
			if from != to {
				w := c.db[from].Follow()
				all.Go(func() { c.replicate(ctx, w, from, to) })
			}
		}
	}
	var ops []state.Op
	put := func(kind state.Kind, name string, v any) {
		op, err := state.Put(kind, name, v)
		if err != nil {
			t.Fatal(err)
		}
		ops = append(ops, op)
	}
	for i, name := range c.names {
		put(state.KindHead, name, wire.HeadRecord{Address: netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})})
	}
	for slot := range state.Slots {
		put(state.KindSlot, state.SlotName(slot), state.Slot{Head: c.names[slot%len(c.names)]})
	}
	if _, err := c.db[c.names[0]].Apply(ctx, admin, ops...); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	for _, name := range c.names {
		r := c.open(t, name)
		all.Go(func() { r.Run(ctx) })
	}
	c.stop = func() {
		cancel()
		all.Wait()
		for _, db := range c.db {
			db.Close()
		}
	}
	synctest.Wait()
	return c
}

// open makes the registry of a head.
func (c *cluster) open(t testing.TB, name string) *Registry {
	r, err := New(Config{
		Store: c.db[name], Head: name, Subnets: []netip.Prefix{subnet}, Image: func(ref string) (images.Digest, error) { return resolveTest("worker") },
		HeadAlive: func(other string) bool { return c.reach(name, other) },
		ApplyAt: func(ctx context.Context, head string, o state.Origin, ops ...state.Op) (state.Ack, []state.Record, error) {
			if !c.reach(name, head) {
				return state.Ack{}, nil, errors.New("no route to host")
			}
			ack, err := c.db[head].Apply(ctx, o, ops...)
			if err != nil {
				return ack, nil, err
			}
			var keys []state.Key
			for _, op := range ops {
				keys = append(keys, op.Key)
			}
			records, err := c.db[head].Records(keys)
			if err == nil {
				_, err = c.db[name].Merge(ctx, records)
			}
			return ack, records, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.reg[name] = r
	return r
}

func (c *cluster) replicate(ctx context.Context, w *state.Watch, from, to string) {
	defer w.Close()
	for {
		records, _, err := w.NextSeq(ctx)
		if err != nil {
			return
		}
		for !c.reach(from, to) {
			c.mu.Lock()
			healed := c.healed
			c.mu.Unlock()
			select {
			case <-healed:
			case <-ctx.Done():
				return
			}
		}
		if _, err := c.db[to].Merge(ctx, records); err != nil {
			return
		}
	}
}

func (c *cluster) reach(a, b string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return a == b || !c.cut[a] && !c.cut[b]
}

// part takes a head off the network, join puts all back.
func (c *cluster) part(head string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut[head] = true
}

func (c *cluster) join() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.cut)
	close(c.healed)
	c.healed = make(chan struct{})
}

// ownedBy gives the n-th of some things that a head gives away.
func ownedBy(c *cluster, head string, n int, thing func(i int) string) string {
	for i := 0; ; i++ {
		if s := thing(i); c.names[state.SlotOf(s)%len(c.names)] == head {
			if n--; n < 0 {
				return s
			}
		}
	}
}

func addressNo(i int) string { return fmt.Sprintf("10.0.1.%d", i+1) }
func nodeNo(i int) string    { return fmt.Sprintf("n%02d", i+1) }
