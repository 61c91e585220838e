package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"masthead/appliance/failover"
)

// Heartbeat is one head's end of all links. Its methods may be called from several goroutines and do not block.
type Heartbeat struct {
	config Config
	seal   seal
	start  uint64
	log    *slog.Logger

	links   []*link // as configured, network cards first
	sockets []*socket
	cables  []*cable
	changed chan struct{}

	mu    sync.Mutex
	peers map[int]*peer
	said  failover.Said
	// revision grows when what we say or hear changes; views are what we told each peer last.
	revision uint16
	views    map[int]uint16
	turned   failover.Instant // when the sender had its last turn
	wake     func()           // sends out of turn; nil: Run is not running
}

// New checks the configuration. It opens nothing.
func New(c Config) (*Heartbeat, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("heartbeat: %w", err)
	}
	h := &Heartbeat{
		config: c, seal: newSeal(c.Cluster, c.Key), start: uint64(time.Now().UnixMilli() / 10), log: c.Log,
		changed: make(chan struct{}, 1), peers: map[int]*peer{}, views: map[int]uint16{},
	}
	numbers := map[int]int{}
	add := func(id int, kind failover.LinkKind, name string, interval time.Duration) *link {
		p := h.peers[id]
		if p == nil {
			p = &peer{id: id}
			h.peers[id] = p
		}
		l := newLink(p, kind, name, numbers[id], interval)
		numbers[id]++
		h.links = append(h.links, l)
		return l
	}
	type bound struct {
		name  string
		local netip.AddrPort
	}
	sockets := map[bound]*socket{}
	for _, n := range c.NICs {
		name := n.Name
		if name == "" {
			name = n.Remote.Addr().String()
		}
		s := sockets[bound{n.Name, n.Local}]
		if s == nil {
			s = &socket{h: h, nic: n.Name, index: n.Index, local: n.Local}
			sockets[bound{n.Name, n.Local}] = s
			h.sockets = append(h.sockets, s)
		}
		s.ways = append(s.ways, way{n.Remote, add(n.Peer, failover.LinkNIC, name, c.Interval)})
	}
	for _, s := range c.Serial {
		l := add(s.Peer, failover.LinkSerial, strings.TrimPrefix(s.Device, "/dev/"), c.SerialInterval)
		h.cables = append(h.cables, &cable{h: h, device: s.Device, baud: s.Baud, link: l})
	}
	return h, nil
}

// Run sends and receives until ctx ends. A link that cannot be opened, or breaks, is tried again until then: the error is
// one of this process, not of a link.
func (h *Heartbeat) Run(ctx context.Context) error {
	s, err := newSender(h)
	if err != nil {
		return fmt.Errorf("heartbeat: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h.mu.Lock()
	h.wake, h.turned = s.wake, h.config.Now()
	h.mu.Unlock()

	var wg sync.WaitGroup
	for _, s := range h.sockets {
		wg.Go(func() { s.run(ctx) })
	}
	for _, c := range h.cables {
		wg.Go(func() { c.run(ctx) })
	}
	err = s.run(ctx)
	cancel()
	wg.Wait()

	h.mu.Lock()
	h.wake = nil
	h.mu.Unlock()
	s.close()
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("heartbeat: %w", err)
	}
	return nil
}

// Say is what the heartbeats say from now on. Something else than before is sent on all links at once, out of turn. Before
// the first call, and with a zero BootID, nothing is sent.
func (h *Heartbeat) Say(s failover.Said) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s == h.said {
		return
	}
	h.said = s
	h.revision++
	if h.wake != nil {
		h.wake()
	}
}

// Said is the newest that a peer has said on any link; its BootID is zero as long as it has said nothing. That it
// released, yields or leaves is not in it before the peer has shown that it hears us: see peer.
func (h *Heartbeat) Said(id int) failover.Said {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.peers[id]
	if p == nil {
		return failover.Said{}
	}
	return p.believed()
}

// Links are all links as configured, network cards first.
func (h *Heartbeat) Links() []LinkState {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]LinkState, len(h.links))
	for i, l := range h.links {
		out[i] = l.view()
	}
	return out
}

// Changed gets a value after a peer has said something other than before, or what it said has become doubtful; values that nobody takes are one.
func (h *Heartbeat) Changed() <-chan struct{} { return h.changed }

// received judges what a link brought.
func (h *Heartbeat) received(l *link, b []byte) {
	h.mu.Lock()
	now := h.config.Now()
	doubted := h.doubt(now)
	changed := l.receive(h.seal, h.config.Self, b, now) || doubted
	h.mu.Unlock()
	if changed {
		select {
		case h.changed <- struct{}{}:
		default:
		}
	}
}

// doubt notices that this process has not run for a while; the caller has the lock.
func (h *Heartbeat) doubt(now failover.Instant) bool {
	if now-h.turned <= stoppedAfter*max(h.config.Interval, h.config.SerialInterval) {
		return false
	}
	h.turned = now
	for _, p := range h.peers {
		p.doubt(now)
	}
	return true
}

// stoppedAfter is how many intervals without a turn of the sender mean that this process was stopped: SIGSTOP, or a
// machine without time for us.
const stoppedAfter = 5

// garbled notes bytes that are no frame.
func (h *Heartbeat) garbled(l *link) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l.state.Garbled++
}

// outgoing is a frame that is to be sent now.
type outgoing struct {
	link     *link
	transmit func([]byte) error
	frame    [frameSize]byte
}

// compose makes the frames for some links.
func (h *Heartbeat) compose(links []*link) []outgoing {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.config.Now()
	h.doubt(now)
	h.turned = now
	if h.said.BootID == 0 {
		return nil
	}
	views := map[int]uint16{}
	for _, l := range h.links {
		if l.hears(now) {
			views[l.peer.id] |= 1 << l.number
		}
	}
	for id := range h.peers {
		if h.views[id] != views[id] {
			h.views[id] = views[id]
			h.revision++
		}
	}
	out := make([]outgoing, 0, len(links))
	for _, l := range links {
		l.seq++
		b, tag := h.seal.encode(frame{
			Link: l.number, From: h.config.Self, To: l.peer.id, Start: h.start, Seq: l.seq,
			Revision: h.revision, Hears: views[l.peer.id], Echo: l.peer.newest, Said: h.said,
		})
		if l.transmit != nil {
			l.peer.sent.add(tag, now)
			out = append(out, outgoing{l, l.transmit, b})
		}
	}
	return out
}

// send sends the frames that are due on some links. It does not block: what a link does not take at once is lost, as a
// later heartbeat says the same and more.
func (h *Heartbeat) send(links []*link) {
	out := h.compose(links)
	errs := make([]error, len(out))
	for i := range out {
		errs[i] = out[i].transmit(out[i].frame[:])
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, o := range out {
		if errs[i] != nil {
			o.link.state.Trouble = errs[i].Error()
			continue
		}
		o.link.state.Sent++
		o.link.state.Trouble = ""
	}
}

// opened and closed say whether a link can be sent on. trouble is why not.
func (h *Heartbeat) opened(l *link, transmit func([]byte) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l.transmit = transmit
	l.state.Trouble = ""
}

func (h *Heartbeat) closed(l *link, trouble error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l.transmit = nil
	l.state.Carrier = failover.Unknown
	if trouble != nil && !errors.Is(trouble, context.Canceled) { // the end of Run is no trouble
		l.state.Trouble = trouble.Error()
	}
}

// watched notes the carrier of a link and how its interface is called now (empty: it has none), and logs its trouble where
// that has changed. The sender itself never logs: a log may block.
func (h *Heartbeat) watched(l *link, name string, carrier failover.Reading) {
	h.mu.Lock()
	if name != "" {
		l.state.Name = name
	}
	l.state.Carrier = carrier
	h.mu.Unlock()
	h.report(l)
}

func (h *Heartbeat) report(l *link) {
	h.mu.Lock()
	now, before := l.view().Trouble, l.logged
	l.logged = now
	h.mu.Unlock()
	switch {
	case now == before:
	case now == "":
		h.log.Info("heartbeat link works", "link", l.state.Name, "peer", l.peer.id)
	default:
		h.log.Warn("heartbeat link", "link", l.state.Name, "peer", l.peer.id, "err", now)
	}
}
