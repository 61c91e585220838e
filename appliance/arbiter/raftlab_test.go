package arbiter

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"masthead/appliance/failover"
)

// raftLab is some heads with raft in one process, on loopback, under one clock.
type raftLab struct {
	t     *testing.T
	dir   string
	cert  tls.Certificate
	pool  *x509.CertPool
	clock labClock
	list  RaftVoters
	heads map[string]*raftHead

	mu     sync.Mutex
	cut    map[string]bool             // heads that hear nobody and are heard by nobody
	leases map[string]failover.Instant // when the last one of each head is over, also if that head is off
	who    string                      // had a lease last
	gaps   []time.Duration
	err    error
	watch  context.CancelFunc
	wg     sync.WaitGroup
}

// raftHead is one of them, with as little of a daemon as a lease needs.
type raftHead struct {
	*Raft
	lab    *raftLab
	name   string
	config RaftConfig
	stop   func()
	want   context.CancelFunc
	off    bool // what it says now nobody hears; lab.mu
}

// labClock is the clock of the leases, which can be stopped: then none ends by itself.
type labClock struct {
	mu    sync.Mutex
	zero  time.Time
	lost  time.Duration // while it was stopped
	since time.Time     // stopped; zero: it runs
}

func (c *labClock) now() failover.Instant {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.since.IsZero() {
		return c.since.Sub(c.zero) - c.lost
	}
	return time.Since(c.zero) - c.lost
}

func (c *labClock) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.since = time.Now()
}

func (c *labClock) resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost, c.since = c.lost+time.Since(c.since), time.Time{}
}

func newRaftLab(t *testing.T, names ...string) *raftLab {
	t.Helper()
	// The folder is made first: it goes after the heads have ended, and not under them.
	l := &raftLab{t: t, dir: t.TempDir(), clock: labClock{zero: time.Now()}, heads: map[string]*raftHead{}, cut: map[string]bool{}, leases: map[string]failover.Instant{}}
	l.cert, l.pool = testCert(t)
	for i, name := range names {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := listener.Addr().(*net.TCPAddr).AddrPort()
		listener.Close()
		l.list.Heads = append(l.list.Heads, RaftVoter{Name: name, ID: i, Addr: addr})
	}
	l.list.Version = 1
	ctx, cancel := context.WithCancel(context.Background())
	l.watch = cancel
	l.wg.Go(func() { l.see(ctx) })
	t.Cleanup(func() {
		for _, h := range l.heads {
			h.end()
		}
		cancel()
		l.wg.Wait()
		if _, err := os.Stat(l.dir); err != nil {
			t.Errorf("the heads outlived their folder: %v", err)
		}
		if l.err != nil {
			t.Error(l.err)
		}
	})
	return l
}

func testCert(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "heads"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"heads"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func (l *raftLab) now() failover.Instant { return l.clock.now() }

func (l *raftLab) config(name string, list RaftVoters) RaftConfig {
	var log *slog.Logger
	if os.Getenv("ARBITER_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("head", name)
	}
	return RaftConfig{
		Self: name, Dir: filepath.Join(l.dir, name), Voters: list, Timing: failover.Normal(), Now: l.now, Log: log,
		Accept: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{l.cert}, ClientCAs: l.pool, ClientAuth: tls.RequireAndVerifyClientCert},
		Dial: func(string) (*tls.Config, error) {
			return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{l.cert}, RootCAs: l.pool, ServerName: "heads"}, nil
		},
		network: func(ctx context.Context, addr string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
			if err != nil {
				return nil, err
			}
			to, _ := l.list.at(addr)
			return &labConn{Conn: c, lab: l, from: name, to: to, closed: make(chan struct{})}, nil
		},
	}
}

// start starts a head, or starts it again.
func (l *raftLab) start(name string, list RaftVoters) *raftHead {
	l.t.Helper()
	return l.run(l.config(name, list))
}

func (l *raftLab) run(c RaftConfig) *raftHead {
	l.t.Helper()
	r, err := NewRaft(c)
	if err != nil {
		l.t.Fatal(err)
	}
	h := &raftHead{Raft: r, lab: l, name: c.Self, config: c, want: func() {}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	h.stop = sync.OnceFunc(func() {
		l.mu.Lock()
		h.off = true
		l.mu.Unlock()
		cancel()
		if err := <-done; err != nil {
			l.t.Errorf("%s: %v", c.Self, err)
		}
	})
	l.mu.Lock()
	l.heads[c.Self] = h
	l.mu.Unlock()
	return h
}

// end ends a head in order: it gives back what it holds.
func (h *raftHead) end() {
	h.want()
	h.stop()
}

// crash ends a head that gives nothing back. Its lease lasts to its end all the same: others may not know that it is off.
func (h *raftHead) crash() {
	h.stop()
	h.want()
}

// Want is Raft.Want, and in the same moment the watcher's word that what is given back is over.
func (h *raftHead) Want(epoch failover.Epoch, solo time.Time, dataUUID string, term bool, above failover.Epoch) {
	l := h.lab
	l.mu.Lock()
	defer l.mu.Unlock()
	h.Raft.Want(epoch, solo, dataUUID, term, above)
	if epoch == 0 && !h.off {
		l.leases[h.name] = min(l.leases[h.name], l.now())
	}
}

// own has a head want to own, as a daemon does, until it is told otherwise.
func (h *raftHead) own() {
	h.want()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	h.want = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	go func() {
		defer close(done)
		defer func() { h.Want(0, time.Time{}, "", false, 0) }()
		var have failover.Epoch
		h.Want(0, time.Time{}, "", true, 0)
		for {
			select {
			case <-ctx.Done():
				return
			case <-h.Changed():
			}
			switch a := h.Authority(); {
			case have == 0 && a.Grant != 0:
				have = a.Grant
				h.Want(have, time.Unix(5, 0), "data", false, 0)
			case have != 0 && a.Known > have: // another one owns; wait for it to go
				have = 0
				h.Want(0, time.Time{}, "", false, 0)
				h.Want(0, time.Time{}, "", true, a.Known)
			}
		}
	}()
}

// see watches, with one clock, that no two heads have a lease at once, and that none could: what a head has once said that it
// has counts to the end, unless it was given back.
func (l *raftLab) see(ctx context.Context) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
		l.look()
	}
}

// look looks at all heads at one instant, in which none of them goes on: however busy the machine is, what it sees was so.
func (l *raftLab) look() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range l.heads {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.node != nil {
			h.node.trans.mu.Lock()
			defer h.node.trans.mu.Unlock()
		}
	}
	now := l.now()
	for name, h := range l.heads {
		epoch, until := h.held(now)
		if epoch == 0 {
			continue
		}
		for other, end := range l.leases {
			if other != name && end > now {
				l.wrong("%s has a lease while that of %s lasts another %v", name, other, end-now)
			}
		}
		if free, all := l.free(h, now); 2*len(free) > len(all) {
			l.wrong("%s has a lease for another %v, and %v of %v could elect another head", name, until-now, free, all)
		}
		if l.who != name && l.who != "" {
			l.gaps = append(l.gaps, now-l.leases[l.who])
		}
		l.who, l.leases[name] = name, max(l.leases[name], until)
	}
}

// free are those of the voters that could vote for another than the owner. Who is off, or abstains, could not.
func (l *raftLab) free(owner *raftHead, now failover.Instant) (free, all []raft.ServerID) {
	all = owner.node.voters()
	for _, id := range all {
		h := l.heads[string(id)]
		if h == nil || h.node == nil {
			continue
		}
		if g := &h.node.trans.guard; now >= g.until || g.leader != owner.name {
			free = append(free, id)
		}
	}
	return free, all
}

func (l *raftLab) wrong(format string, args ...any) {
	if l.err == nil {
		l.err = fmt.Errorf(format, args...)
	}
}

// part cuts heads off, or joins them again.
func (l *raftLab) part(off bool, names ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range names {
		l.cut[n] = off
	}
}

func (l *raftLab) parted(a, b string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut[a] != l.cut[b] || l.cut[a]
}

// until waits for something to be so.
func (l *raftLab) until(what string, within time.Duration, ok func() bool) time.Duration {
	l.t.Helper()
	start := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if ok() {
			return time.Since(start)
		}
		if time.Since(start) > within {
			var all []string
			for name, h := range l.heads {
				all = append(all, name+": "+h.Authority().Refused+" "+h.Votes())
			}
			l.t.Fatalf("%v and not %s: %s", within, what, strings.Join(all, "; "))
		}
	}
	return 0
}

func (l *raftLab) holds(name string) func() bool {
	return func() bool { return l.heads[name].Authority().Held != 0 }
}

// labConn is a connection through which nothing comes while its ends are parted.
type labConn struct {
	net.Conn
	lab      *raftLab
	from, to string
	once     sync.Once
	closed   chan struct{}
	mu       sync.Mutex
	deadline time.Time
}

func (c *labConn) wait() error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for c.lab.parted(c.from, c.to) {
		c.mu.Lock()
		d := c.deadline
		c.mu.Unlock()
		if !d.IsZero() && time.Now().After(d) {
			return os.ErrDeadlineExceeded
		}
		select {
		case <-c.closed:
			return net.ErrClosed
		case <-tick.C:
		}
	}
	return nil
}

func (c *labConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil {
		err = c.wait()
	}
	return n, err
}

func (c *labConn) Write(b []byte) (int, error) {
	if err := c.wait(); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *labConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	c.deadline = t
	c.mu.Unlock()
	return c.Conn.SetDeadline(t)
}

func (c *labConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
