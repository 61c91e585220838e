package heartbeat

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"masthead/appliance/failover"
)

// Config is who is told what, on which ways. Of two heads, both list the links between them in the same order.
type Config struct {
	Cluster string   // separates clusters on one network
	Self    int      // id; 0 to failover.MaxHeads-1
	Key     []byte   // HMAC-SHA256 key of the cluster
	NICs    []NIC    // one for each pair of an own card and a peer's address
	Serial  []Serial // one for each cable
	Port    uint16   // UDP, for addresses without a port; default DefaultPort
	// Interval is between two heartbeats on a network card, SerialInterval on a cable; all heads have the same.
	Interval, SerialInterval time.Duration
	Now                      func() failover.Instant // nil: since New
	Log                      *slog.Logger            // nil: nowhere
}

// NIC is a way through the network to one peer.
type NIC struct {
	Peer          int
	Name          string // the interface, which the socket is bound to (SO_BINDTODEVICE); empty: routing decides
	Index         int    // its number, which stays when udev renames it while it is up; 0: it is looked for by its name
	Local, Remote netip.AddrPort
}

// Serial is a null-modem cable.
type Serial struct {
	Device string // /dev/ttyS1
	Baud   int    // default DefaultBaud
	Peer   int    // who is at the other end
}

const (
	DefaultPort = 7947
	DefaultBaud = 115200
	// DefaultInterval is a fifth of the silence after which an owner is suspected: four in a row may be lost.
	DefaultInterval = 50 * time.Millisecond
	// DefaultSerialInterval keeps a line of 115200 baud free for nine tenths of the time, and one of 9600 baud usable.
	DefaultSerialInterval = 100 * time.Millisecond
	// minKey is what makes the key as strong as the eight bytes of each frame's HMAC, and no typing error passes for one.
	minKey = 16
)

// maxLinks is how many links to one peer fit a frame's view.
const maxLinks = 16

func (c Config) withDefaults() Config {
	if c.Port == 0 {
		c.Port = DefaultPort
	}
	if c.Interval == 0 {
		c.Interval = DefaultInterval
	}
	if c.SerialInterval == 0 {
		c.SerialInterval = DefaultSerialInterval
	}
	if c.Now == nil {
		zero := time.Now()
		c.Now = func() failover.Instant { return time.Since(zero) }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	nics := make([]NIC, len(c.NICs))
	for i, n := range c.NICs {
		n.Local, n.Remote = withPort(n.Local, c.Port), withPort(n.Remote, c.Port)
		nics[i] = n
	}
	cables := make([]Serial, len(c.Serial))
	for i, s := range c.Serial {
		if s.Baud == 0 {
			s.Baud = DefaultBaud
		}
		cables[i] = s
	}
	c.NICs, c.Serial = nics, cables
	return c
}

func withPort(a netip.AddrPort, port uint16) netip.AddrPort {
	if a.Port() != 0 {
		port = a.Port()
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), port)
}

// validate returns all that is wrong, joined.
func (c Config) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	id := func(field string, n int) {
		if n < 0 || n >= failover.MaxHeads {
			bad("%s: %d: want 0 to %d", field, n, failover.MaxHeads-1)
		}
	}
	id("self", c.Self)
	if c.Cluster == "" {
		bad("cluster: want a name")
	}
	if len(c.Key) < minKey {
		bad("key: %d bytes: want %d or more", len(c.Key), minKey)
	}
	if c.Interval < 0 || c.SerialInterval < 0 {
		bad("interval: want more than 0")
	}
	links := map[int]int{}
	peer := func(field string, n int) {
		id(field+".peer", n)
		if n == c.Self {
			bad("%s.peer: %d is this head itself", field, n)
		}
		links[n]++
	}
	for i, n := range c.NICs {
		field := fmt.Sprintf("nics[%d]", i)
		peer(field, n.Peer)
		if n.Remote.Addr().IsLinkLocalUnicast() && n.Remote.Addr().Is6() && n.Name == "" {
			bad("%s.name: want the interface of %v", field, n.Remote)
		}
		if !n.Local.IsValid() || !n.Remote.IsValid() || n.Local.Addr().Is4() != n.Remote.Addr().Is4() {
			bad("%s: %v to %v: want two addresses of one family", field, n.Local, n.Remote)
		}
	}
	for i, s := range c.Serial {
		field := fmt.Sprintf("serial[%d]", i)
		peer(field, s.Peer)
		if s.Device == "" {
			bad("%s.device: want one", field)
		}
		if s.Baud < 0 {
			bad("%s.baud: %d: want more than 0", field, s.Baud)
		}
	}
	for n, count := range links {
		if count > maxLinks {
			bad("%d links to head %d: want %d or fewer", count, n, maxLinks)
		}
	}
	return errors.Join(errs...)
}
