package appliance

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"masthead/appliance/pki"
	"masthead/images"
	"masthead/node/wire"
)

// Heads talk to one another on the HTTPS port, below wire.PathPeer. Each knows the others by the digest of their keys
// in the state (wire.HeadRecord.Key), on both sides of a connection, so that a head is in the moment its record comes
// and out the moment it goes.

// peers are the connections to other heads.
type peers struct {
	mu      sync.Mutex
	clients map[string]peerConn
}

type peerConn struct {
	record wire.HeadRecord
	client *http.Client
}

// peerIdle is how long an unused connection to a head is kept: something is said every second.
const peerIdle = 30 * time.Second

// peerDial bounds how long a head that is off holds anybody up: on a local network it answers at once or never.
const peerDial = 2 * time.Second

// peerRecords are the configured heads but this one.
func (h *Head) peerRecords() map[string]wire.HeadRecord {
	all := h.heads()
	delete(all, h.cfg.Name)
	return all
}

// peerClient talks to the configured head of that name, whose record gives the base URL, and to nobody else. The client
// sets no time limit: the caller's context does. A head that is not configured gives errors.
func (h *Head) peerClient(name string) *http.Client {
	rec, ok := h.heads()[name]
	if !ok {
		return &http.Client{Transport: noPeer(name)}
	}
	h.peers.mu.Lock()
	defer h.peers.mu.Unlock()
	have, ok := h.peers.clients[name]
	if ok && have.record.Key == rec.Key && have.record.URL() == rec.URL() {
		return have.client
	}
	if ok {
		have.client.CloseIdleConnections()
	}
	made := peerConn{rec, &http.Client{Transport: h.peerTransport(name)}}
	if h.peers.clients == nil {
		h.peers.clients = map[string]peerConn{}
	}
	h.peers.clients[name] = made
	return made.client
}

// closePeers drops the connections that nobody uses.
func (h *Head) closePeers() {
	h.peers.mu.Lock()
	defer h.peers.mu.Unlock()
	for _, c := range h.peers.clients {
		c.client.CloseIdleConnections()
	}
}

// noPeer is the way to a head that is none.
type noPeer string

func (n noPeer) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
	return nil, fmt.Errorf("%s is not a configured head", string(n))
}

func (h *Head) peerTransport(name string) *http.Transport {
	return peerTransport(h.server, func(key images.Digest) error {
		if rec, ok := h.heads()[name]; !ok || rec.Key != key {
			return fmt.Errorf("head %s: whoever answers at its address has another key than the state knows: %s", name, key.Short())
		}
		return nil
	})
}

// peerTransport shows this head's certificate and checks the key of the other side. A name is not checked, nor a date:
// the key says it all, also between clocks that are wrong.
func peerTransport(own *pki.Server, check func(key images.Digest) error) *http.Transport {
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: peerDial, KeepAlive: 5 * time.Second}).DialContext,
		TLSHandshakeTimeout: peerDial,
		IdleConnTimeout:     peerIdle,
		MaxIdleConnsPerHost: 8,
		DisableCompression:  true,
		TLSClientConfig: &tls.Config{
			MinVersion:           tls.VersionTLS13,
			GetClientCertificate: own.GetClientCertificate,
			InsecureSkipVerify:   true, // VerifyConnection does it, for resumed connections too
			VerifyConnection: func(s tls.ConnectionState) error {
				if len(s.PeerCertificates) == 0 {
					return errors.New("the head shows no certificate")
				}
				return check(pki.KeyOf(s.PeerCertificates[0]))
			},
		},
	}
}

// peerRoute is something that heads ask of one another. The pattern is that of http.ServeMux, with the whole path.
type peerRoute struct {
	pattern string
	handle  http.Handler
}

type peerKey struct{}

// peerName is the head that calls, inside a peerRoute.
func peerName(ctx context.Context) string {
	name, _ := ctx.Value(peerKey{}).(string)
	return name
}

// withPeers serves the peers' routes below wire.PathPeer to configured heads, and everything else through next.
func (h *Head) withPeers(next http.Handler, routes ...peerRoute) http.Handler {
	mux := http.NewServeMux()
	for _, r := range slices.Concat(h.headPeerRoutes(), routes) {
		mux.Handle(r.pattern, r.handle)
	}
	outer := http.NewServeMux()
	outer.Handle("/", next)
	outer.HandleFunc(wire.PathPeer, func(w http.ResponseWriter, r *http.Request) {
		name, err := h.authenticatePeer(r)
		if err != nil {
			writeProblem(w, err)
			return
		}
		mux.ServeHTTP(w, r.WithContext(withPeerName(r.Context(), name)))
	})
	return outer
}

// authenticatePeer finds out which head calls, by the key of its certificate.
func (h *Head) authenticatePeer(r *http.Request) (string, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return "", &problem{http.StatusUnauthorized, "this is for the heads of the cluster, which show a certificate", ""}
	}
	if h.member.phase() == phaseRemoved {
		// Not Gone: that would tell the caller that it is the one who was removed.
		return "", &problem{http.StatusServiceUnavailable, h.cfg.Name + " was taken out of the cluster itself", "masthead head list"}
	}
	key := pki.KeyOf(r.TLS.PeerCertificates[0])
	for name, rec := range h.peerRecords() {
		if rec.Key == key {
			return name, nil
		}
	}
	if gone, ok := h.removedHead(key); ok {
		return "", &problem{http.StatusGone, gone.text(), "masthead head token on a head of the cluster, then masthead head join ADDRESS --token-file FILE"}
	}
	return "", &problem{http.StatusForbidden, "the certificate is not that of a configured head: key " + key.Short(), "masthead head list"}
}
