package dns

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	miekg "github.com/miekg/dns"
)

const (
	// Port is the one that resolvers know.
	Port = 53
	// TTL is that of our own names. A node keeps its address for hours, but a machine that was replaced or has moved must
	// be found within seconds, and a question costs a head some microseconds: it is as long as a node's report is apart.
	TTL = 10 * time.Second
	// NegativeTTL is how long it may be held that a name is not there (RFC 2308, 4). People look for a machine before it
	// has its first lease.
	NegativeTTL = 5 * time.Second

	// DefaultTimeout is what one forwarder has for one answer: far more than a resolver that has it, less than half of the
	// 5 s after which a client asks again (resolv.conf(5)), so that two more can be asked meanwhile.
	DefaultTimeout = 1500 * time.Millisecond
	// DefaultPatience is what all forwarders together have. After 5 s nobody waits any more.
	DefaultPatience = 4500 * time.Millisecond
	// DefaultForwards bounds the questions on their way. Each costs a socket and a few KB for DefaultPatience at most.
	DefaultForwards = 512
	// DefaultPerHost is what one machine may have of them, and of TCP connections, so that one cannot take all.
	DefaultPerHost = 64
	// DefaultConns bounds the TCP connections.
	DefaultConns = 256
	// DefaultCached bounds the foreign answers in memory: at most 4 KB each, 16 MB in all, mostly a tenth of it.
	DefaultCached = 4096
)

// Names is what the cluster's state knows, at one moment. All heads know the same.
type Names interface {
	// Addresses of a head or a node, by its name in lower case without the domain; none: there is no such machine.
	Addresses(host string) []netip.Addr
	// Host is the machine that has an address.
	Host(netip.Addr) (host string, ok bool)
	// Heads are the name servers of our zones, in one order on all heads.
	Heads() []string
}

// Config describes the service. Zero limits stand for the defaults.
type Config struct {
	Listen []netip.AddrPort // for UDP and TCP
	Domain string           // of the cluster
	// Networks are those whose machines are served, besides this one, and whose reverse zones are ours.
	Networks []netip.Prefix
	Lookup   func() Names // must not block
	// Forwarders are asked for the names of others, in this order. Nil or none: such questions are refused.
	Forwarders func() []netip.AddrPort

	Timeout, Patience                time.Duration
	Forwards, PerHost, Conns, Cached int

	Log *slog.Logger
}

// complete names all that is wrong, and fills in the defaults.
func (c Config) complete() (Config, error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("dns: "+format, args...)) }
	if len(c.Listen) == 0 {
		bad("no address to listen on")
	}
	for _, a := range c.Listen {
		if !a.IsValid() {
			bad("address %v: want ADDRESS:PORT", a)
		}
	}
	if _, ok := miekg.IsDomainName(c.Domain); !ok || c.Domain == "" || c.Domain == "." {
		bad("domain %q: want a name such as cluster", c.Domain)
	} else {
		c.Domain = miekg.CanonicalName(c.Domain)
	}
	c.Networks = slices.Clone(c.Networks)
	for i, n := range c.Networks {
		if !n.IsValid() {
			bad("network %v: want ADDRESS/BITS", n)
		}
		c.Networks[i] = n.Masked()
	}
	if c.Lookup == nil {
		bad("no names")
	}
	if c.Forwarders == nil {
		c.Forwarders = func() []netip.AddrPort { return nil }
	}
	for _, d := range []struct {
		value *time.Duration
		def   time.Duration
	}{{&c.Timeout, DefaultTimeout}, {&c.Patience, DefaultPatience}} {
		if *d.value == 0 {
			*d.value = d.def
		}
	}
	for _, d := range []struct {
		value *int
		def   int
	}{{&c.Forwards, DefaultForwards}, {&c.PerHost, DefaultPerHost}, {&c.Conns, DefaultConns}, {&c.Cached, DefaultCached}} {
		if *d.value == 0 {
			*d.value = d.def
		}
	}
	if c.Timeout < 0 || c.Patience < 0 || c.Forwards < 0 || c.PerHost < 0 || c.Conns < 0 || c.Cached < 0 {
		bad("limits: want no negative numbers")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c, errors.Join(errs...)
}
