package gossip

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"masthead/appliance/state"
)

// realHead is a head with everything but the machine: a file, TLS with keys that are pinned both ways, memberlist.
type realHead struct {
	name   string
	dir    string
	cert   tls.Certificate
	port   uint16 // of memberlist
	addr   string // of HTTPS, the same after a restart
	db     *state.DB
	r      *Replica
	server *httptest.Server
	client map[string]*http.Client
	stop   context.CancelFunc
	done   chan error

	in, out atomic.Int64 // bytes of HTTPS, as its server reads and writes them
}

type realCluster struct {
	t     testing.TB
	heads map[string]*realHead
	names []string
}

func newRealCluster(t testing.TB, names ...string) *realCluster {
	c := &realCluster{t: t, heads: map[string]*realHead{}, names: names}
	dir := t.TempDir()
	for _, n := range names {
		c.heads[n] = &realHead{name: n, dir: filepath.Join(dir, n), cert: newCertificate(t), port: freePort(t), addr: "127.0.0.1:0"}
	}
	for i, n := range names {
		c.listen(n)
		if i == 0 {
			apply(t, c.heads[n].db, put(t, state.KindSecret, "keys", []string{firstKey}))
			if err := c.heads[n].db.SetComplete(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, n := range names {
		c.run(n)
	}
	t.Cleanup(func() {
		for _, n := range names {
			c.kill(n)
		}
	})
	return c
}

// listen opens the state and the port, so that the address is known.
func (c *realCluster) listen(name string) {
	h := c.heads[name]
	clock := NewClock(nil)
	var err error
	if h.db, err = state.Open(state.Config{Dir: h.dir, Head: name, Now: clock.Now}); err != nil {
		c.t.Fatal(err)
	}
	h.client = map[string]*http.Client{}
	for _, other := range c.names {
		want := fingerprint(c.heads[other].cert.Certificate[0])
		h.client[other] = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8, TLSClientConfig: &tls.Config{
			Certificates: []tls.Certificate{h.cert}, InsecureSkipVerify: true,
			VerifyConnection: func(s tls.ConnectionState) error {
				if fingerprint(s.PeerCertificates[0].Raw) != want {
					return errors.New("another key")
				}
				return nil
			},
		}}}
	}
	h.r, err = New(Config{
		Name: name, Version: "test", DB: h.db, Clock: clock, Label: "masthead-test",
		Bind: netip.MustParseAddr("127.0.0.1"), Port: h.port,
		Client: func(n string) *http.Client { return h.client[n] },
		Keys:   func() [][]byte { return keysIn(h.db) },
		Peers: func() []Peer {
			var list []Peer
			for _, n := range c.names {
				if n != name {
					list = append(list, Peer{n, netip.MustParseAddr("127.0.0.1"), c.heads[n].port, "https://" + c.heads[n].addr})
				}
			}
			return list
		},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	handler := h.r.Handler()
	l, err := net.Listen("tcp", h.addr)
	if err != nil {
		c.t.Fatal(err)
	}
	if strings.HasSuffix(h.addr, ":0") {
		h.addr = l.Addr().String()
	}
	h.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		for _, other := range c.names {
			if fingerprint(req.TLS.PeerCertificates[0].Raw) == fingerprint(c.heads[other].cert.Certificate[0]) {
				handler.ServeHTTP(w, req.WithContext(WithPeer(req.Context(), other)))
				return
			}
		}
		http.Error(w, "who are you?", http.StatusForbidden)
	}))
	h.server.Listener.Close()
	h.server.Listener = countingListener{l, h}
	h.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	h.server.TLS = &tls.Config{Certificates: []tls.Certificate{h.cert}, ClientAuth: tls.RequireAnyClientCert}
	h.server.StartTLS()
}

func (c *realCluster) run(name string) {
	h := c.heads[name]
	ctx, stop := context.WithCancel(context.Background())
	h.stop, h.done = stop, make(chan error, 1)
	go func() { h.done <- h.r.Run(ctx) }()
}

// kill ends a head without a good-bye, as far as one process can.
func (c *realCluster) kill(name string) {
	h := c.heads[name]
	if h.stop == nil {
		return
	}
	h.server.CloseClientConnections()
	h.server.Close()
	h.stop()
	if err := <-h.done; err != nil {
		c.t.Errorf("%s: %v", name, err)
	}
	for _, client := range h.client {
		client.CloseIdleConnections()
	}
	if err := h.db.Close(); err != nil {
		c.t.Error(err)
	}
	h.stop = nil
}

// await waits until something is so; real time, so bounded generously.
func (c *realCluster) await(what string, is func() bool) time.Duration {
	c.t.Helper()
	start := time.Now()
	for !is() {
		if time.Since(start) > 20*time.Second {
			for _, n := range c.names {
				c.t.Logf("%s: %+v, %+v", n, c.heads[n].db.Summary(), c.heads[n].r.Status())
			}
			c.t.Fatalf("not after %v: %s", time.Since(start), what)
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(start)
}

func (c *realCluster) equal() bool {
	first := c.heads[c.names[0]].db.Summary()
	for _, n := range c.names[1:] {
		if s := c.heads[n].db.Summary(); s.Root != first.Root || !s.Complete {
			return false
		}
	}
	return first.Complete
}

// members tells whether all heads that run see n members, themselves among them.
func (c *realCluster) members(n int) bool {
	for _, h := range c.heads {
		if h.stop == nil {
			continue
		}
		if list := h.r.link.(*netLink).members(); list == nil || list.NumMembers() != n {
			return false
		}
	}
	return true
}

func TestRealHeads(t *testing.T) {
	c := newRealCluster(t, "a", "b", "c")
	a, b := c.heads["a"], c.heads["b"]
	c.await("equal and complete", c.equal)
	t.Log("three members after", c.await("members", func() bool { return c.members(3) }))

	ack := apply(t, a.r, put(t, state.KindNode, "n01", "x"))
	if ack.Degraded != "" {
		t.Errorf("the first write: %+v", ack)
	}
	took := c.await("n01 on b and c", func() bool { return has(b.db, "n01") && has(c.heads["c"].db, "n01") })
	t.Log("visible on all after", took)
	if heads, equal, err := a.r.Verify(t.Context()); err != nil || !equal || len(heads) != 3 || !heads[0].Self {
		t.Errorf("Verify = %+v, %t, %v", heads, equal, err)
	}
	c.await("a's status says equal", func() bool {
		for _, s := range a.r.Status() {
			if !s.Alive || !s.Equal || s.Reason != "" || s.Version != "test" {
				return false
			}
		}
		return true
	})

	ack, records, err := a.r.ApplyAt(t.Context(), "b", admin, put(t, state.KindNode, "n02", "at b"))
	if err != nil || ack.Version.Head != "b" || len(records) != 1 || !has(a.db, "n02") {
		t.Errorf("ApplyAt = %+v, %v, %v", ack, records, err)
	}
	_, _, err = a.r.ApplyAt(t.Context(), "b", admin, put(t, state.KindNode, "n02", "again").At(state.Version{}))
	if !errors.Is(err, state.ErrConflict) {
		t.Errorf("ApplyAt with a version that is not: %v, want ErrConflict", err)
	}

	c.kill("c")
	if ack := apply(t, a.r, put(t, state.KindNode, "n03", "without c")); ack.Degraded != "" {
		t.Errorf("with one of three off: %+v", ack)
	}
	c.await("c is gone", func() bool { return strings.Contains(statusOf(a.r, "c").Reason, "no answer since") })
	diff, err := a.r.Diff(t.Context(), "b")
	if err != nil || len(diff) != 0 {
		t.Errorf("Diff = %v, %v", diff, err)
	}

	// New keys while c is off: it has the old one, and must come back all the same.
	c.rotate(a)
	c.await("two members with the new key", func() bool { return c.members(2) })
	c.listen("c")
	if got := keysIn(c.heads["c"].db); len(got) != 1 || string(got[0]) != firstKey {
		t.Fatalf("c comes back with the keys %q, want the old one", got)
	}
	c.run("c")
	t.Log("equal again after", c.await("equal again", c.equal))
	t.Log("three members after", c.await("three members", func() bool { return c.members(3) }))
}

const (
	firstKey  = "11111111111111111111111111111111"
	secondKey = "22222222222222222222222222222222"
)

// keysIn gives the keys of the membership protocol, which are in the state as on real heads.
func keysIn(db *state.DB) (keys [][]byte) {
	rec, err := db.Get(state.Key{Kind: state.KindSecret, Name: "keys"})
	if err != nil {
		return nil
	}
	texts, _ := state.Decode[[]string](rec)
	for _, k := range texts {
		keys = append(keys, []byte(k))
	}
	return keys
}

// rotate brings a new key the way heads do: known to all, then used, then the only one.
func (c *realCluster) rotate(at *realHead) {
	for _, keys := range [][]string{{firstKey, secondKey}, {secondKey, firstKey}, {secondKey}} {
		apply(c.t, at.r, put(c.t, state.KindSecret, "keys", keys))
		c.await("the keys "+strings.Join(keys, ","), func() bool {
			for _, h := range c.heads {
				if h.stop == nil {
					continue
				}
				var ring [][]byte
				if list := h.r.link.(*netLink).members(); list != nil {
					ring = h.r.link.(*netLink).ring.ring.GetKeys()
				}
				if len(ring) != len(keys) || string(ring[0]) != keys[0] {
					return false
				}
			}
			return true
		})
	}
}

// Whoever speaks another protocol is refused, and both sides say why.
func TestOtherProtocol(t *testing.T) {
	c := newRealCluster(t, "a", "b")
	c.await("equal", c.equal)
	a := c.heads["a"]
	req, err := http.NewRequest(http.MethodPost, "https://"+c.heads["b"].addr+pathState+callSummary, strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(protoHead, "9 v99")
	resp, err := a.client["b"].Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	for _, want := range []string{"masthead v99", "protocol 9", "masthead test", fmt.Sprintf("protocol %d", Protocol)} {
		if resp.StatusCode != http.StatusConflict || !strings.Contains(string(body), want) {
			t.Errorf("%d %s; want 409 with %q", resp.StatusCode, body, want)
		}
	}
	d := Digest{Protocol: 9, Head: "b", Version: "v99"}
	a.r.heard(d.encode())
	if s := statusOf(a.r, "b"); !strings.Contains(s.Reason, "masthead v99") || !strings.Contains(s.Reason, "protocol 9") {
		t.Errorf("status %+v", s)
	}
	// A stranger's digest and question are nobody's.
	a.r.heard(Digest{Protocol: Protocol, Head: "x", Version: "v"}.encode())
	if _, err := a.r.serve(t.Context(), "x", callSummary, nil); err == nil {
		t.Error("a stranger was answered")
	}
}

func has(db *state.DB, node string) bool {
	_, err := db.Get(state.Key{Kind: state.KindNode, Name: node})
	return err == nil
}

func statusOf(r *Replica, name string) PeerStatus {
	for _, s := range r.Status() {
		if s.Name == name {
			return s
		}
	}
	return PeerStatus{}
}

type countingListener struct {
	net.Listener
	h *realHead
}

func (l countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return countingConn{conn, l.h}, err
}

type countingConn struct {
	net.Conn
	h *realHead
}

func (c countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.h.in.Add(int64(n))
	return n, err
}

func (c countingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.h.out.Add(int64(n))
	return n, err
}

func newCertificate(t testing.TB) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func fingerprint(der []byte) [32]byte { return sha256.Sum256(der) }

// freePort is one that is free for TCP and UDP.
func freePort(t testing.TB) uint16 {
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		u, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		l.Close()
		if err == nil {
			u.Close()
			return uint16(port)
		}
	}
	t.Fatal("no free port")
	return 0
}
