package gossip

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// netLink is the way to other heads in production: questions over HTTPS, digests in memberlist's packets.
type netLink struct {
	conf  *Config
	heard func(digest []byte)

	ring keyring // run's alone

	mu   sync.Mutex
	list *memberlist.Memberlist // nil: not running
}

func newNetLink(c *Config, heard func([]byte)) *netLink { return &netLink{conf: c, heard: heard} }

func (l *netLink) call(ctx context.Context, name, what string, body []byte) ([]byte, error) {
	for _, p := range l.conf.Peers() {
		if p.Name == name {
			return l.post(ctx, p, what, body)
		}
	}
	return nil, &notConfigured{name}
}

// send implements link. A head that is no member gets none: it is asked for its digest instead (probe).
func (l *netLink) send(name string, digest []byte) {
	list := l.members()
	if list == nil {
		return
	}
	for _, m := range list.Members() {
		if m.Name == name {
			if err := list.SendBestEffort(m, digest); err != nil {
				l.conf.Log.Debug("send a digest", "head", name, "err", err)
			}
		}
	}
}

func (l *netLink) members() *memberlist.Memberlist {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.list
}

// Limits of the membership protocol.
const (
	// Measured with one of three stopped hard: noticed after 5 to 7 s with memberlist's values for a LAN, after 2 to
	// 2.5 s with these; below, it takes healthy members for dead under load.
	probeInterval = 500 * time.Millisecond
	probeTimeout  = 300 * time.Millisecond
	streamTimeout = 2 * time.Second // to a head that is off, for a join
	leaveTimeout  = 500 * time.Millisecond
	// reclaim is when a dead head's name may come back at another address: its own claim is authenticated by the key.
	reclaim = time.Second
)

// run keeps the membership: it starts the protocol when there is a key, changes keys, and joins whoever is missing. A head
// without an address of its own has nothing to tell the others where it is, and stays by itself.
func (l *netLink) run(ctx context.Context) error {
	if bind := l.conf.Bind; !bind.IsValid() || bind.IsUnspecified() {
		<-ctx.Done()
		return nil
	}
	var joins sync.WaitGroup
	defer joins.Wait()
	tick := time.NewTicker(l.conf.Timing.Digest)
	defer tick.Stop()
	var joined time.Time
	for {
		list := l.members()
		if err := l.ring.set(l.conf.Keys()); err != nil {
			l.conf.Log.Error("gossip keys", "err", err)
		} else if list == nil && l.ring.ring != nil {
			var err error
			if list, err = l.start(l.ring.ring); err != nil {
				return err
			}
			defer l.stop(list)
		}
		if now := time.Now(); list != nil && now.Sub(joined) >= l.conf.Timing.Rejoin {
			joined = now
			for _, p := range l.missing(list) {
				joins.Go(func() { l.join(list, p) })
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (l *netLink) start(ring *memberlist.Keyring) (*memberlist.Memberlist, error) {
	c := memberlist.DefaultLANConfig()
	c.Name, c.Label, c.Keyring = l.conf.Name, l.conf.Label, ring
	c.BindAddr, c.AdvertiseAddr = l.conf.Bind.String(), l.conf.Bind.String()
	c.BindPort, c.AdvertisePort = int(l.conf.Port), int(l.conf.Port)
	c.ProbeInterval, c.ProbeTimeout, c.TCPTimeout = probeInterval, probeTimeout, streamTimeout
	c.DeadNodeReclaimTime = reclaim
	c.Delegate, c.Alive = delegate{l}, delegate{l}
	c.Logger = log.New(debugLog{l.conf.Log}, "", 0)
	list, err := memberlist.Create(c)
	if err != nil {
		return nil, fmt.Errorf("gossip: listen on %s: %w", net.JoinHostPort(c.BindAddr, strconv.Itoa(c.BindPort)), err)
	}
	l.mu.Lock()
	l.list = list
	l.mu.Unlock()
	return list, nil
}

// stop says good-bye, so that the others need not find out.
func (l *netLink) stop(list *memberlist.Memberlist) {
	l.mu.Lock()
	l.list = nil
	l.mu.Unlock()
	if err := list.Leave(leaveTimeout); err != nil {
		l.conf.Log.Debug("leave the membership", "err", err)
	}
	if err := list.Shutdown(); err != nil {
		l.conf.Log.Debug("end the membership", "err", err)
	}
}

// missing gives the configured heads that are no members.
func (l *netLink) missing(list *memberlist.Memberlist) []Peer {
	there := map[string]bool{}
	for _, m := range list.Members() {
		there[m.Name] = true
	}
	var out []Peer
	for _, p := range l.conf.Peers() {
		if !there[p.Name] && p.Address.IsValid() {
			out = append(out, p)
		}
	}
	return out
}

func (l *netLink) join(list *memberlist.Memberlist, p Peer) {
	at := net.JoinHostPort(p.Address.String(), strconv.Itoa(int(p.Gossip)))
	if _, err := list.Join([]string{p.Name + "/" + at}); err != nil {
		l.conf.Log.Debug("join", "head", p.Name, "at", at, "err", err)
	}
}

// delegate is what memberlist calls. It may not block.
type delegate struct{ l *netLink }

// NotifyAlive keeps out who is no configured head.
func (d delegate) NotifyAlive(m *memberlist.Node) error {
	if m.Name == d.l.conf.Name {
		return nil
	}
	for _, p := range d.l.conf.Peers() {
		if p.Name == m.Name {
			return nil
		}
	}
	return &notConfigured{m.Name}
}

// NotifyMsg takes a digest. The bytes are memberlist's.
func (d delegate) NotifyMsg(data []byte) { d.l.heard(data) }

func (delegate) NodeMeta(int) []byte             { return nil }
func (delegate) GetBroadcasts(int, int) [][]byte { return nil }
func (delegate) LocalState(bool) []byte          { return nil }
func (delegate) MergeRemoteState([]byte, bool)   {}

// debugLog writes memberlist's log, whose lines are for its authors, as debug records.
type debugLog struct{ log *slog.Logger }

func (d debugLog) Write(line []byte) (int, error) {
	d.log.Debug(strings.TrimSpace(string(line)), "from", "memberlist")
	return len(line), nil
}
