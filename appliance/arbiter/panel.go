package arbiter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"masthead/appliance/failover"
	"masthead/node/witness"
)

// PanelConfig is what a Panel must know.
type PanelConfig struct {
	Self    int    // id of this head
	Cluster string // its name
	Gen     uint64 // generation of the cluster
	Key     []byte // HMAC-SHA256 key of the cluster
	Timing  failover.Timing
	// Roster are the voters, among them this head and the other one. Where Dir knows of a newer list, that one counts.
	Roster Roster
	Own    Vote // this head's
	// Dir is the folder in which lists of voters are kept that the other head has not agreed to yet. It exists.
	Dir string
	Now func() failover.Instant
	Log *slog.Logger // nil: none
	// Lost reports whether a packet to or from that voter is lost, in tests; nil: none is.
	Lost func(voter string) bool
}

// Vote is this head's own, which the other heads ask too: a *witness.Server.
type Vote interface {
	Ask(witness.Ask) witness.Answer
	SetRoster(version uint32)
}

// Panel asks the votes of two heads and of a panel of witnesses for the lease.
type Panel struct {
	config  PanelConfig
	conn    *net.UDPConn
	changed chan struct{}
	wake    chan struct{}

	mu    sync.Mutex
	lease *Lease
	keep  rosterFile
	kept  Rosters            // what is in it
	told  failover.Authority // what Changed was last signalled for
}

// NewPanel opens a socket. Whoever does not call Run must call Close.
func NewPanel(c PanelConfig) (*Panel, error) {
	switch {
	case len(c.Key) < 16:
		return nil, fmt.Errorf("panel: the key has %d bytes, want 16 or more", len(c.Key))
	case c.Own == nil || c.Now == nil:
		return nil, errors.New("panel: no own vote, or no clock")
	case c.Timing.Renew <= 0 || c.Timing.TTL < 2*c.Timing.Renew || c.Timing.Margin <= 0 || c.Timing.Margin >= c.Timing.TTL:
		return nil, fmt.Errorf("panel: leases of %v, renewed each %v, with a margin of %v", c.Timing.TTL, c.Timing.Renew, c.Timing.Margin)
	}
	if err := c.Roster.validate(); err != nil {
		return nil, fmt.Errorf("panel: %w", err)
	}
	if _, ok := c.Roster.head(c.Self); !ok {
		return nil, fmt.Errorf("panel: head %d is not among the voters", c.Self)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	keep := rosterFile{dir: c.Dir, cluster: c.Cluster}
	known, err := keep.read()
	if err != nil {
		return nil, err
	}
	if c.Roster.Version > known.newest() {
		if known, err = known.with(c.Roster); err != nil {
			return nil, fmt.Errorf("panel: %w", err)
		}
		if err := keep.write(known); err != nil {
			return nil, err
		}
	}
	lc := LeaseConfig{Self: c.Self, Cluster: witness.Hash(c.Cluster), Gen: c.Gen, Timing: c.Timing}
	lease, err := NewLease(lc, known, rand.Uint64(), c.Now())
	if err != nil {
		return nil, fmt.Errorf("panel: %w", err)
	}
	conn, err := net.ListenUDP("udp", nil)
	if err != nil {
		return nil, fmt.Errorf("panel: %w", err)
	}
	return &Panel{config: c, conn: conn, changed: make(chan struct{}, 1), wake: make(chan struct{}, 1), lease: lease, keep: keep, kept: known}, nil
}

// Close frees the socket.
func (p *Panel) Close() error { return p.conn.Close() }

// Want says which epoch's lease is wanted, and what the voters are to remember of the owner; 0 gives back what is held, and
// is for when the gate is shut. It does not block. An epoch that was given back cannot be had again.
func (p *Panel) Want(epoch failover.Epoch, solo time.Time, dataUUID string) {
	p.mu.Lock()
	p.lease.Want(epoch, solo, dataUUID, p.config.Now())
	p.signal()
	p.mu.Unlock()
	p.poke()
}

// Authority is how the lease stands now.
func (p *Panel) Authority() failover.Authority {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lease.Authority(p.config.Now())
}

// Changed is sent to when something in Authority is other than before; that a lease was renewed is nothing.
func (p *Panel) Changed() <-chan struct{} { return p.changed }

// Votes says in words who can vote.
func (p *Panel) Votes() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lease.Votes(p.config.Now())
}

// Memory is what the voters remember of the last owner, and whether that is all there was to remember.
func (p *Panel) Memory() (epoch failover.Epoch, facts witness.Facts, whole bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a, whole := p.lease.Memory(p.config.Now())
	return failover.Epoch(a.Owned), a.Facts, whole
}

// SetVoters changes the voters. Until the other head has the same list, voters of both lists must agree.
func (p *Panel) SetVoters(r Roster) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := r.head(p.config.Self); !ok {
		return fmt.Errorf("panel: head %d is not among the voters", p.config.Self)
	}
	next, err := p.lease.Rosters().with(r)
	if err != nil {
		return fmt.Errorf("panel: %w", err)
	}
	// On the disk first: the other head may take it from then on that this one needs it.
	if err := p.keep.write(next); err != nil {
		return err
	}
	p.kept = next
	if err := p.lease.SetRoster(r, p.config.Now()); err != nil {
		return fmt.Errorf("panel: %w", err)
	}
	p.signal()
	p.poke()
	return nil
}

// Heard is told what the other head has asked of this head's vote: it is for witness.Config.Heard.
func (p *Panel) Heard(a witness.Ask) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lease.HeardAsk(a, p.config.Now())
	if p.lease.Due() <= p.config.Now() {
		p.poke()
	}
	p.signal()
}

func (p *Panel) poke() { notify(p.wake) }

// settle adopts a list of voters for which it is time, and keeps on the disk what is needed. What is dropped may be there for
// longer; then it is needed after a restart until the other head says again what it has. The caller holds mu.
func (p *Panel) settle() {
	adopt := p.lease.Ripe(p.config.Now())
	next := p.lease.Rosters()
	if adopt {
		next = p.lease.Adopted()
	}
	if next.same(p.kept) {
		return
	}
	if err := p.keep.write(next); err != nil {
		p.config.Log.Warn("list of voters", "error", err) // tried again in a moment
		return
	}
	p.kept = next
	if adopt {
		p.lease.Adopt()
	}
}

// signal tells of a change. The caller holds mu.
func (p *Panel) signal() {
	p.config.Own.SetRoster(p.lease.Newest())
	a := p.lease.Authority(p.config.Now())
	a.Until, a.Refused = 0, "" // times are in both
	if a == p.told {
		return
	}
	p.told = a
	notify(p.changed)
}

// Run asks until ctx is done. What is held then is given back by Want(0, …) before, or ends by itself.
func (p *Panel) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	heard := make(chan error, 1)
	go func() {
		heard <- p.listen(ctx)
		cancel()
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-p.wake:
		case <-timer.C:
		}
		timer.Reset(p.round())
	}
	p.conn.Close()
	return <-heard
}

// round asks all whose turn it is, and says how long it is to the next.
func (p *Panel) round() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	var again failover.Instant
	// The own vote answers at once, and its answer may be reason to ask the others something else.
	p.settle()
	for range 4 {
		var ask []Question
		ask, again = p.lease.Next(p.config.Now())
		for _, q := range ask {
			p.send(q)
		}
		if again > p.config.Now() {
			break
		}
	}
	p.signal()
	wait := max(again-p.config.Now(), time.Millisecond)
	if held := p.lease.heldUntil() - p.config.Now(); held > 0 {
		wait = min(wait, held+time.Millisecond) // to signal the end of a lease
	}
	return wait
}

func (p *Panel) send(q Question) {
	if q.To.Head == p.config.Self {
		p.lease.Heard(q.To.Name, p.config.Own.Ask(q.Ask), p.config.Now())
		return
	}
	if p.config.Lost != nil && p.config.Lost(q.To.Name) {
		return
	}
	if _, err := p.conn.WriteToUDPAddrPort(q.Ask.Append(nil, p.config.Key), q.To.Addr); err != nil {
		p.config.Log.Debug("ask for a vote", "voter", q.To.Name, "error", err) // asked again in a moment
	}
}

func (p *Panel) listen(ctx context.Context) error {
	var in [witness.AnswerLen + 1]byte
	for {
		n, from, err := p.conn.ReadFromUDPAddrPort(in[:])
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("panel: %w", err)
		case err != nil:
			continue // an ICMP error for an ask: nobody is there
		}
		a, err := witness.ParseAnswer(in[:n], p.config.Key)
		if err != nil {
			p.config.Log.Debug("answer of a vote", "from", from, "error", err)
			continue
		}
		p.answer(a)
	}
}

// answer finds who was asked by the nonce: a voter with several addresses may answer from another than it was asked at.
func (p *Panel) answer(a witness.Answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	name, ok := p.lease.asked(a.Nonce)
	if !ok || p.config.Lost != nil && p.config.Lost(name) {
		return
	}
	p.lease.Heard(name, a, p.config.Now())
	p.signal()
	if p.lease.Due() <= p.config.Now() {
		p.poke()
	}
}
