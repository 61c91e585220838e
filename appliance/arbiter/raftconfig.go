package arbiter

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/hashicorp/raft"

	"masthead/appliance/failover"
)

// RaftVoter is a head with a vote.
type RaftVoter struct {
	Name string         `json:"name"`
	ID   int            `json:"id"`
	Addr netip.AddrPort `json:"addr"` // TCP
}

// RaftVoters is a list of heads. Another list has a higher version.
type RaftVoters struct {
	Version uint32      `json:"version"`
	Heads   []RaftVoter `json:"heads"`
}

// RaftConfig is what a Raft must know.
type RaftConfig struct {
	Self   string // name of this head
	Dir    string // folder of its own; made where it is missing
	Voters RaftVoters
	// Listen is where others are listened for; not valid: the address among Voters.
	Listen netip.AddrPort
	// Accept is for connections of other heads: it demands a certificate, and lets nobody in who is not a head. Dial is for
	// connections to one of them, and lets nobody else answer.
	Accept *tls.Config
	Dial   func(head string) (*tls.Config, error)
	Timing failover.Timing
	Now    func() failover.Instant
	Log    *slog.Logger // nil: none

	network func(ctx context.Context, addr string) (net.Conn, error) // another one, in tests; nil: TCP
}

func (c RaftConfig) self() (RaftVoter, bool) { return c.Voters.head(c.Self) }

func (v RaftVoters) head(name string) (RaftVoter, bool) {
	for _, h := range v.Heads {
		if h.Name == name {
			return h, true
		}
	}
	return RaftVoter{}, false
}

func (v RaftVoters) at(addr string) (name string, ok bool) {
	for _, h := range v.Heads {
		if h.Addr.String() == addr {
			return h.Name, true
		}
	}
	return "", false
}

func (v RaftVoters) validate() error {
	var errs []error
	names, ids, addrs := map[string]bool{}, map[int]bool{}, map[netip.AddrPort]bool{}
	if len(v.Heads) == 0 {
		errs = append(errs, errors.New("no heads"))
	}
	for _, h := range v.Heads {
		switch {
		case h.Name == "" || len(h.Name) > 255 || names[h.Name]:
			errs = append(errs, fmt.Errorf("head %q: the name is missing, too long or there twice", h.Name))
		case h.ID < 0 || h.ID >= failover.MaxHeads || ids[h.ID]:
			errs = append(errs, fmt.Errorf("head %s: id %d is out of range or there twice", h.Name, h.ID))
		case !h.Addr.IsValid() || h.Addr.Addr().IsUnspecified() || h.Addr.Port() == 0 || addrs[h.Addr]:
			errs = append(errs, fmt.Errorf("head %s: address %v is none that others can reach, or there twice", h.Name, h.Addr))
		}
		names[h.Name], ids[h.ID], addrs[h.Addr] = true, true, true
	}
	return errors.Join(errs...)
}

func (c RaftConfig) validate() error {
	if err := c.Voters.validate(); err != nil {
		return err
	}
	t := c.Timing
	switch _, ok := c.self(); {
	case !ok:
		return fmt.Errorf("%s is not among the voters", c.Self)
	case c.Dir == "" || c.Now == nil || c.Accept == nil || c.Dial == nil:
		return errors.New("no folder, no clock or no TLS")
	case t.Renew <= 0 || t.Margin <= 0 || c.lease() < 2*t.Renew || t.Margin*4 > c.lease():
		return fmt.Errorf("leases of %v, renewed each %v, with a margin of %v", c.lease(), t.Renew, t.Margin)
	}
	return nil
}

// lease is the length of a lease: that of a panel. Shorter ones end by chance, at 10 % loss about twice an hour (I7).
func (c RaftConfig) lease() time.Duration { return c.Timing.TTL }

// promise is for how long a follower promises to vote for nobody else: the leader counts from when it sent, less the margin.
func (c RaftConfig) promise() time.Duration { return c.lease() + c.Timing.Margin }

// abstain is how long a head takes no part after its start.
func (c RaftConfig) abstain() time.Duration { return c.promise() + c.Timing.Margin }

// hurry is the timeout of an election for which it is time, and of a leader that hears from no majority. It is shorter than
// a promise: then nobody is kept from an election by it.
func (c RaftConfig) hurry() time.Duration { return c.lease() * 3 / 4 }

// library is the configuration of hashicorp/raft. Its timeouts are a little longer than promises; when those are over, Raft
// shortens them (elect.go).
func (c RaftConfig) library() *raft.Config {
	l := raft.DefaultConfig()
	l.LocalID = raft.ServerID(c.Self)
	l.HeartbeatTimeout = c.promise() + c.Timing.Margin
	l.ElectionTimeout = l.HeartbeatTimeout
	l.LeaderLeaseTimeout = c.hurry()
	l.CommitTimeout = c.Timing.Renew / 4
	l.ShutdownOnRemove = false
	l.SnapshotThreshold, l.TrailingLogs, l.SnapshotInterval = 512, 128, 10*time.Minute // entries are few, and small
	l.NoLegacyTelemetry = true
	l.Logger = newRaftLog(c.Log)
	return l
}
