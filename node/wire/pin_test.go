package wire

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"masthead/images"
)

// authority is a CA for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string, begins time.Time) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: begins, NotAfter: begins.AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	return authority{sign(t, tmpl, tmpl, &key.PublicKey, key), key}
}

func sign(t *testing.T, tmpl, parent *x509.Certificate, pub *ecdsa.PublicKey, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (a authority) digest() images.Digest { return images.DigestOf(a.cert.Raw) }

// issue makes a certificate for that use, valid for a year from begins.
func (a authority) issue(t *testing.T, begins time.Time, use x509.ExtKeyUsage) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "head1"},
		NotBefore: begins, NotAfter: begins.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{use},
	}, a.cert, &key.PublicKey, a.key), key
}

func TestVerifyPinned(t *testing.T) {
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ours, other := newAuthority(t, "ours", began), newAuthority(t, "other", began)
	leaf, _ := ours.issue(t, began, x509.ExtKeyUsageServerAuth)
	node, _ := ours.issue(t, began, x509.ExtKeyUsageClientAuth)
	foreign, _ := other.issue(t, began, x509.ExtKeyUsageServerAuth)
	month := began.AddDate(0, 1, 0)

	tests := []struct {
		name  string
		chain []*x509.Certificate
		ca    images.Digest
		now   time.Time
		want  string // part of the error; empty: accepted
	}{
		{"our head", []*x509.Certificate{leaf, ours.cert}, ours.digest(), month, ""},
		{"order of the rest does not matter", []*x509.Certificate{leaf, other.cert, ours.cert}, ours.digest(), month, ""},
		{"clock at 1970", []*x509.Certificate{leaf, ours.cert}, ours.digest(), time.Unix(0, 0), ""},
		{"expired", []*x509.Certificate{leaf, ours.cert}, ours.digest(), began.AddDate(2, 0, 0), "expired"},
		{"CA not presented", []*x509.Certificate{leaf}, ours.digest(), month, ErrNotPinned.Error()},
		{"other cluster", []*x509.Certificate{foreign, other.cert}, ours.digest(), month, ErrNotPinned.Error()},
		{"other cluster's head that presents our CA too", []*x509.Certificate{foreign, other.cert, ours.cert}, ours.digest(), month, "unknown authority"},
		{"a node's certificate", []*x509.Certificate{node, ours.cert}, ours.digest(), month, "incompatible key usage"},
		{"a leaf pinned as if it were a CA", []*x509.Certificate{leaf, ours.cert}, images.DigestOf(leaf.Raw), month, ErrNotPinned.Error()},
		{"no digest", []*x509.Certificate{leaf, ours.cert}, "", month, ErrNotPinned.Error()},
		{"no certificate", nil, ours.digest(), month, ErrNotPinned.Error()},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := verifyPinned(test.chain, test.ca, test.now)
			switch {
			case test.want == "" && err != nil:
				t.Errorf("got %v, want acceptance", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

// serveTLS runs handler behind a certificate of the authority and closes it with the test.
func serveTLS(t *testing.T, a authority, handler http.Handler) *httptest.Server {
	t.Helper()
	leaf, key := a.issue(t, time.Now().Add(-time.Hour), x509.ExtKeyUsageServerAuth)
	s := httptest.NewUnstartedServer(handler)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw, a.cert.Raw}, PrivateKey: key}}}
	s.Config.ErrorLog = nil
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func TestPinnedTLSHandshake(t *testing.T) {
	ours := newAuthority(t, "ours", time.Now().Add(-time.Hour))
	s := serveTLS(t, ours, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("{}")) }))

	if err := NewClient(s.URL, ours.digest(), "").Report(t.Context(), Report{}); err != nil {
		t.Errorf("with the right CA: %v", err)
	}
	wrong := images.DigestOf([]byte("another CA"))
	if err := NewClient(s.URL, wrong, "").Report(t.Context(), Report{}); !errors.Is(err, ErrNotPinned) {
		t.Errorf("with a wrong CA: got %v, want ErrNotPinned", err)
	}
}
