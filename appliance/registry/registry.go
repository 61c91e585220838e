package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"masthead/appliance/nodeset"
	"masthead/appliance/state"
	"masthead/images"
	"masthead/node/wire"
)

// Config is what a Registry stands on.
type Config struct {
	Store   state.Store
	Subnets []netip.Prefix // in which nodes may have addresses; none: any
	// Taken names who has an address that is no node's: a head. Nil: nobody.
	Taken func(netip.Addr) (who string, ok bool)
	// Image resolves a tag or a digest, or, when given nothing, names the image of machines for which nobody has decided;
	// its error is shown to people. It must not call the Registry.
	Image func(ref string) (images.Digest, error)
	// Clone is the image of a machine that is being made a head (RoleClone). Nil: there is none. It must not call the Registry.
	Clone func() (images.Digest, error)
	// Cmdline checks a node's kernel arguments; nil: all are good.
	Cmdline func(string) error
	// Head is the name of this head; empty where there is only one and nobody asks which.
	Head string
	// HeadAlive tells whether another head answers at the moment; nil: all do. It must not block.
	HeadAlive func(name string) bool
	// ApplyAt makes a change on another head, which allocates what it is about, and takes over here what was written. Its
	// errors are those of state.Store.Apply, and others where that head does not answer. Nil: there are no others.
	ApplyAt func(ctx context.Context, head string, o state.Origin, ops ...state.Op) (state.Ack, []state.Record, error)
	Log     *slog.Logger     // nil: nowhere
	Now     func() time.Time // for Run and times of events that carry none; nil is time.Now
}

// Registry is all nodes of a cluster. Its methods may be called at once from anywhere; none but those that take a
// context blocks for longer than a lock.
type Registry struct {
	conf Config
	log  *Log

	mu       sync.RWMutex
	settings settingsBook
	nodes    map[string]entry // by name
	byMAC    holders[string]
	byAddr   holders[netip.Addr]
	sorted   []string     // names; nil: to be made
	waiting  int          // nodes without approval
	numbers  [2]numbering // of all slots that can be reached, and of this head's own
	groups   map[string]groupEntry
	heads    map[string]wire.HeadRecord // the configured ones
	dead     map[string]time.Time       // heads that serve nodes and do not answer, since when
	twins    map[string]bool            // duplicates that were told of
	away     away
	live     map[string]*live
	made     map[string]wire.Inventory // by the MAC of the NIC that boots
	alias    map[string]string         // other NIC → the NIC that boots; empty: of several machines
	claims   map[claim]chan struct{}
	leases   leaseBook
}

type entry struct {
	Record
	version state.Version
}

// New reads the nodes out of the state.
func New(conf Config) (*Registry, error) {
	if conf.Store == nil {
		return nil, errors.New("registry: no state")
	}
	if conf.Now == nil {
		conf.Now = time.Now
	}
	if conf.Log == nil {
		conf.Log = slog.New(slog.DiscardHandler)
	}
	r := &Registry{
		conf: conf, log: newLog(), settings: newSettingsBook(),
		nodes: map[string]entry{}, byMAC: newHolders[string](), byAddr: newHolders[netip.Addr](),
		groups: map[string]groupEntry{}, heads: map[string]wire.HeadRecord{}, dead: map[string]time.Time{},
		twins: map[string]bool{},
		live:  map[string]*live{}, made: map[string]wire.Inventory{}, alias: map[string]string{}, claims: map[claim]chan struct{}{},
		leases: newLeaseBook(),
	}
	if err := r.read(); err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	return r, nil
}

// read enters all that the state has. It takes in what it can.
func (r *Registry) read() error {
	var errs []error
	for _, kind := range kinds() {
		for _, rec := range r.conf.Store.List(kind, "") {
			errs = append(errs, r.take(rec))
		}
	}
	return errors.Join(errs...)
}

// kinds are what the registry follows in the state, in the order in which it reads them first.
func kinds() []state.Kind {
	return []state.Kind{state.KindSetting, state.KindHead, state.KindGroup, state.KindNode, state.KindInventory, state.KindBoot, state.KindLease}
}

// take enters one record of the state into memory. It is harmless to enter one twice, or an older one late.
func (r *Registry) take(rec state.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch rec.Key.Kind {
	case state.KindSetting:
		r.settings.take(rec)
	case state.KindHead:
		return r.takeHead(rec)
	case state.KindGroup:
		return r.takeGroup(rec)
	case state.KindNode:
		return r.takeNode(rec)
	case state.KindInventory:
		return r.takeInventory(rec)
	case state.KindBoot:
		return r.takeSummary(rec)
	case state.KindLease:
		return r.leases.take(rec)
	}
	return nil
}

func (r *Registry) takeHead(rec state.Record) error {
	if rec.Deleted {
		delete(r.heads, rec.Key.Name)
		return nil
	}
	h, err := state.Decode[wire.HeadRecord](rec)
	if err != nil {
		return err
	}
	r.heads[rec.Key.Name] = h
	return nil
}

func (r *Registry) takeInventory(rec state.Record) error {
	mac := rec.Key.Name
	if rec.Deleted {
		delete(r.made, mac)
		return nil
	}
	inv, err := state.Decode[wire.Inventory](rec)
	if err != nil {
		return err
	}
	r.inventory(mac, inv)
	return nil
}

// inventory takes in what a machine is made of. The caller holds mu for writing.
func (r *Registry) inventory(mac string, inv wire.Inventory) {
	r.made[mac] = inv
	for _, other := range inv.MACs {
		m, err := ParseMAC(other)
		if err != nil || m == mac {
			continue
		}
		if of, ok := r.alias[m]; ok && of != mac {
			r.alias[m] = "" // adapters that all carry one address exist: it tells nothing
		} else {
			r.alias[m] = mac
		}
	}
}

// boots gives the MAC address under which a machine is kept: that of the NIC that it usually boots from. The caller
// holds mu.
func (r *Registry) boots(mac string) string {
	if r.byMAC.keeper[mac] != "" {
		return mac
	}
	if of := r.alias[mac]; r.byMAC.keeper[of] != "" {
		return of
	}
	return mac
}

func (r *Registry) takeNode(rec state.Record) error {
	name := rec.Key.Name
	old, known := r.nodes[name]
	if known && old.version.Compare(rec.Version) >= 0 {
		return nil
	}
	var node Record
	if !rec.Deleted {
		if err := json.Unmarshal(rec.Value, &node); err != nil {
			return fmt.Errorf("node %s: %w", name, err)
		}
		node.Name = name
	}
	if known {
		r.byMAC.remove(old.MAC, name)
		r.byAddr.remove(old.Address, name)
		if !old.Approved {
			r.waiting--
		}
		delete(r.nodes, name)
	}
	if !rec.Deleted {
		r.nodes[name] = entry{node, rec.Version}
		r.byMAC.add(node.MAC, name, r.keeps)
		if node.Address.IsValid() {
			r.byAddr.add(node.Address, name, r.keeps)
		}
		if !node.Approved {
			r.waiting++
		}
	} else {
		r.freeNumber(name)
	}
	if known == rec.Deleted { // a name came or went
		r.sorted = nil
	}
	return nil
}

// names gives all node names in order. The caller holds mu for writing.
func (r *Registry) names() []string {
	if r.sorted == nil {
		r.sorted = make([]string, 0, len(r.nodes))
		for name := range r.nodes {
			r.sorted = append(r.sorted, name)
		}
		slices.SortFunc(r.sorted, nodeset.Compare)
	}
	return r.sorted
}

// of gives the live status of a machine, made if need be. The caller holds mu for writing.
func (r *Registry) of(mac string) *live {
	l := r.live[mac]
	if l == nil {
		l = &live{}
		r.live[mac] = l
	}
	return l
}

// Log is the cluster's events.
func (r *Registry) Log() *Log { return r.log }

// Event enters an event. What is not set of node, MAC and time is filled in.
func (r *Registry) Event(e wire.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.event(e)
}

// event is Event for who holds mu for writing.
func (r *Registry) event(e wire.Event) {
	if mac, err := ParseMAC(e.MAC); err == nil {
		e.MAC = r.boots(mac)
	}
	if e.Node == "" {
		e.Node = r.byMAC.keeper[e.MAC]
	}
	if e.MAC == "" {
		e.MAC = r.nodes[e.Node].MAC
	}
	if e.Time.IsZero() {
		e.Time = r.conf.Now()
	}
	// Events of MAC addresses that are no node's are in the common log only: a memory that strangers could fill.
	if l := r.live[e.MAC]; l != nil || e.Node != "" {
		r.of(e.MAC).note(e)
	}
	r.log.add(e)
}

// Run follows the state for changes made elsewhere, notes when nodes change phase, and keeps the last boots in the
// state. It blocks until ctx ends, writes them once more, and returns nil.
func (r *Registry) Run(ctx context.Context) error {
	var g errgroup.Group
	g.Go(func() error {
		w := r.conf.Store.Watch(kinds()...)
		defer w.Close()
		if err := r.read(); err != nil { // what was written since New
			r.conf.Log.Error("a record of the state is not understood", "err", err)
		}
		for {
			records, err := w.Next(ctx)
			if err != nil {
				return nil // ctx has ended
			}
			for _, rec := range follow(records) {
				if err := r.take(rec); err != nil {
					r.conf.Log.Error("a record of the state is not understood", "key", rec.Key.String(), "err", err)
				}
			}
		}
	})
	g.Go(func() error {
		sweep := time.NewTicker(sweepEvery)
		defer sweep.Stop()
		for {
			select {
			case <-sweep.C:
				r.Sweep(r.conf.Now())
			case <-ctx.Done():
				return nil
			}
		}
	})
	g.Go(func() error { // by itself: a disk that hangs must not hold up the sweep
		save := time.NewTicker(sweepEvery)
		defer save.Stop()
		for {
			select {
			case <-save.C:
				r.save(ctx)
			case <-ctx.Done():
				last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
				defer cancel()
				r.save(last)
				return nil
			}
		}
	})
	return g.Wait()
}

// follow puts what goes before what comes: a node that was renamed is not two for a moment. And it puts leases last: who
// sees the lease record of an address as it is now also sees for whom the address is reserved.
func follow(records []state.Record) []state.Record {
	place := func(rec state.Record) int {
		switch {
		case rec.Key.Kind == state.KindLease:
			return 2
		case rec.Deleted:
			return 0
		}
		return 1
	}
	slices.SortStableFunc(records, func(a, b state.Record) int { return place(a) - place(b) })
	return records
}

func (r *Registry) save(ctx context.Context) {
	if err := r.SaveSummaries(ctx); err != nil && r.conf.Store.ReadOnly() == nil { // read-only is said by the state itself
		r.conf.Log.Warn("the last boots were not written to the state", "err", err)
	}
}
