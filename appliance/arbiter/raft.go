package arbiter

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"masthead/appliance/failover"
)

// Raft has three heads or more agree on the owner, who is also their leader.
type Raft struct {
	config  RaftConfig
	machine *machine
	changed chan struct{}
	wake    chan struct{} // what is wanted is other than before
	renew   chan struct{} // the same for refresh
	pleads  chan struct{} // and for plead

	mu     sync.Mutex
	node   *node // nil: does not run, or abstains
	want   want
	gone   failover.Epoch // given back
	grant  failover.Epoch
	epoch  failover.Epoch   // of the lease
	until  failover.Instant // of the lease
	ready  uint64           // the term for which this head, its leader, knows all that was committed before
	voters RaftVoters
	wish   string // the head that has asked to lead
	told   failover.Authority
	short  bool // the timeouts of elections
}

// want is what Want was told last.
type want struct {
	epoch, above failover.Epoch
	term         bool
	solo         time.Time
	data         string
}

// node is raft while it runs.
type node struct {
	raft  *raft.Raft
	trans *transport
	store *logStore
}

// NewRaft checks the configuration. Nothing happens before Run.
func NewRaft(c RaftConfig) (*Raft, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("raft: %w", err)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.network == nil {
		dialer := &net.Dialer{KeepAlive: 5 * time.Second}
		c.network = func(ctx context.Context, addr string) (net.Conn, error) { return dialer.DialContext(ctx, "tcp", addr) }
	}
	r := &Raft{config: c, voters: c.Voters, changed: make(chan struct{}, 1), wake: make(chan struct{}, 1), renew: make(chan struct{}, 1), pleads: make(chan struct{}, 1)}
	r.machine = &machine{changed: r.poke}
	return r, nil
}

// Want says which epoch's lease is wanted, and what the others are to know of the owner; 0 gives back what is held, and is
// for when the gate is shut. With term, a new epoch above above is asked for first, until Authority.Grant has it. It does
// not block. An epoch that was given back cannot be had again.
func (r *Raft) Want(epoch failover.Epoch, solo time.Time, dataUUID string, term bool, above failover.Epoch) {
	r.mu.Lock()
	if old := r.want.epoch; old != epoch {
		r.gone = max(r.gone, old)
		r.epoch, r.until = 0, 0
	}
	if term && !r.want.term {
		r.grant = 0
	}
	r.want = want{epoch, above, term, solo, dataUUID}
	r.mu.Unlock()
	r.poke()
	notify(r.pleads)
}

// SetVoters gives a newer list of heads. The leader brings it about, one head at a time: new ones get a vote when they
// answer, then those that are not in the list lose theirs. Each head is to be told; the newest list wins.
func (r *Raft) SetVoters(v RaftVoters) error {
	if err := v.validate(); err != nil {
		return fmt.Errorf("raft: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if v.Version <= r.voters.Version {
		return fmt.Errorf("raft: list of heads: version %d, and %d is known", v.Version, r.voters.Version)
	}
	r.voters = v
	r.poke()
	return nil
}

// Changed is sent to when something in Authority is other than before; that a lease was renewed is nothing.
func (r *Raft) Changed() <-chan struct{} { return r.changed }

// Ownership is what the heads have agreed on, as far as this one knows.
func (r *Raft) Ownership() Ownership { return r.machine.ownership() }

func (r *Raft) poke() {
	notify(r.wake)
	notify(r.renew)
}

// notify leaves word for whoever reads c, if there is none yet.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// signal tells of a change.
func (r *Raft) signal() {
	a := r.Authority()
	a.Until = 0
	r.mu.Lock()
	defer r.mu.Unlock()
	if a == r.told {
		return
	}
	r.told = a
	notify(r.changed)
}

// Run takes part until ctx is done. For as long as a promise of its last run may last it only waits.
func (r *Raft) Run(ctx context.Context) error {
	select {
	case <-time.After(r.config.abstain()):
	case <-ctx.Done():
		return nil
	}
	n, err := r.start()
	if err != nil {
		return fmt.Errorf("raft: %w", err)
	}
	r.mu.Lock()
	r.node = n
	r.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() { r.refresh(ctx, n) })
	wg.Go(func() { r.tend(ctx, n) })
	wg.Go(func() { r.plead(ctx, n) })
	<-ctx.Done()
	wg.Wait()
	r.mu.Lock()
	r.node, r.epoch, r.until = nil, 0, 0
	r.mu.Unlock()
	return r.stop(n)
}

func (r *Raft) start() (n *node, err error) {
	c := r.config
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, err
	}
	store, err := openLogStore(filepath.Join(c.Dir, logFile))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, store.Close())
		}
	}()
	log := newRaftLog(c.Log)
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(c.Dir, snapshotsKept, log)
	if err != nil {
		return nil, err
	}
	self, _ := c.self()
	listen := c.Listen
	if !listen.IsValid() {
		listen = self.Addr
	}
	listener, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(listen))
	if err != nil {
		return nil, err
	}
	s := &stream{Listener: tls.NewListener(listener, c.Accept), addr: net.TCPAddrFromAddrPort(self.Addr), dial: c.Dial, name: r.headAt, wish: r.hearWish, network: c.network}
	s.start()
	inner := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Logger: log, Stream: s, MaxPool: 3, Timeout: c.promise(), MaxRPCsInFlight: 1,
	})
	trans := newTransport(inner, s, raft.ServerID(c.Self), c.promise(), c.Now, r.poke)
	lib, err := raft.NewRaft(c.library(), r.machine, store, store, snapshots, trans)
	if err != nil {
		return nil, errors.Join(err, trans.Close())
	}
	return &node{raft: lib, trans: trans, store: store}, nil
}

// stop hands the lead over, if it is not needed, and ends raft.
func (r *Raft) stop(n *node) error {
	r.mu.Lock()
	wanted := r.want.epoch != 0
	r.mu.Unlock()
	if !wanted && n.raft.State() == raft.Leader {
		_ = n.raft.LeadershipTransfer().Error() // else the others notice a little later
	}
	err := n.raft.Shutdown().Error()
	if err := errors.Join(err, n.trans.Close(), n.store.Close()); err != nil {
		return fmt.Errorf("raft: %w", err)
	}
	return nil
}

// headAt is the head at an address, in the list or as it leads.
func (r *Raft) headAt(addr string) (string, bool) {
	r.mu.Lock()
	n, voters := r.node, r.voters
	r.mu.Unlock()
	if name, ok := voters.at(addr); ok || n == nil {
		return name, ok
	}
	for _, s := range n.raft.GetConfiguration().Configuration().Servers { // one that is to be removed
		if string(s.Address) == addr {
			return string(s.ID), true
		}
	}
	return "", false
}
