package rootdev

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"masthead/images"
	"masthead/node/wire"
)

// head serves an image's blobs as a head does. It can be killed and revived on the same port.
type head struct {
	t      testing.TB
	image  sealed
	token  string
	cert   tls.Certificate
	ca     images.Digest
	url    string
	mu     sync.Mutex
	server *httptest.Server
}

func newHead(t testing.TB, image sealed, token string) *head {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca and head"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	h := &head{t: t, image: image, token: token, ca: images.DigestOf(der),
		cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.url = "https://" + l.Addr().String()
	h.serve(l)
	t.Cleanup(h.kill)
	return h
}

func (h *head) serve(l net.Listener) {
	s := httptest.NewUnstartedServer(h)
	s.Listener.Close()
	s.Listener = l
	s.TLS = &tls.Config{Certificates: []tls.Certificate{h.cert}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	h.mu.Lock()
	h.server = s
	h.mu.Unlock()
}

// kill ends the head and its connections at once.
func (h *head) kill() {
	h.mu.Lock()
	s := h.server
	h.server = nil
	h.mu.Unlock()
	if s != nil {
		s.Listener.Close()
		s.CloseClientConnections()
		s.Close()
	}
}

// revive starts it again on the same port.
func (h *head) revive() {
	h.t.Helper()
	l, err := net.Listen("tcp", strings.TrimPrefix(h.url, "https://"))
	if err != nil {
		h.t.Fatal(err)
	}
	h.serve(l)
}

func (h *head) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer "+h.token {
		http.Error(w, "", http.StatusUnauthorized)
		return
	}
	store, err := images.OpenStore(h.image.dir)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	f, err := store.OpenFile(images.Digest(strings.TrimPrefix(r.URL.Path, wire.PathBlob)))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer f.Close()
	http.ServeContent(w, r, "", time.Time{}, f)
}
