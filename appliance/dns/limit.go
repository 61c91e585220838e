package dns

import (
	"net"
	"net/netip"
	"sync"
)

// limit bounds something, in all and for each machine.
type limit struct {
	total, perHost int

	mu   sync.Mutex
	all  int
	held map[netip.Addr]int
}

func newLimit(total, perHost int) *limit {
	return &limit{total: total, perHost: perHost, held: map[netip.Addr]int{}}
}

// take takes one, if there is one left; the caller gives it back.
func (l *limit) take(host netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= l.total || l.held[host] >= l.perHost {
		return false
	}
	l.all++
	l.held[host]++
	return true
}

func (l *limit) give(host netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.held[host]--; l.held[host] == 0 {
		delete(l.held, host)
	}
}

// guarded is a listener that keeps strangers, and more connections than the limit, out before they cost anything.
type guarded struct {
	net.Listener
	serves func(netip.Addr) bool
	conns  *limit
}

func (g *guarded) Accept() (net.Conn, error) {
	for {
		conn, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from, err := netip.ParseAddrPort(conn.RemoteAddr().String())
		if host := from.Addr().Unmap(); err == nil && g.serves(host) && g.conns.take(host) {
			return &counted{Conn: conn, closed: func() { g.conns.give(host) }}, nil
		}
		conn.Close()
	}
}

// counted is a connection that gives its place back once.
type counted struct {
	net.Conn
	once   sync.Once
	closed func()
}

func (c *counted) Close() error {
	c.once.Do(c.closed)
	return c.Conn.Close()
}
