package wire

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"masthead/images"
)

// ErrNotPinned is what a TLS handshake fails with when the server's chain does not hold the pinned CA.
var ErrNotPinned = errors.New("the server's certificates do not hold the pinned CA")

// PinnedTLS is the client side of a connection to a head. A machine knows its cluster by one thing only, the SHA-256
// of the CA certificate's DER, so the server must present that certificate in its chain, and its own certificate must
// verify to it for server authentication. Host names are not compared: heads are reached by address, virtual address
// or user-mode forward, and only heads hold server certificates of this CA.
//
// now gives the time to verify at; nil is time.Now.
func PinnedTLS(ca images.Digest, now func() time.Time) *tls.Config {
	if now == nil {
		now = time.Now
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		// The library's own verification needs the CA beforehand; VerifyConnection does all of it instead, for
		// resumed connections too.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			return verifyPinned(s.PeerCertificates, ca, now())
		},
	}
}

// verifyPinned decides whether a chain, leaf first, belongs to the cluster of that CA.
func verifyPinned(chain []*x509.Certificate, ca images.Digest, now time.Time) error {
	if len(chain) == 0 {
		return fmt.Errorf("CA %s: %w", ca.Short(), ErrNotPinned)
	}
	var pinned *x509.Certificate
	between := x509.NewCertPool()
	for _, c := range chain {
		if sum := sha256.Sum256(c.Raw); c.IsCA && images.DigestFromSum(sum[:]) == ca {
			pinned = c
		} else {
			between.AddCert(c)
		}
	}
	if pinned == nil {
		return fmt.Errorf("CA %s: %w", ca.Short(), ErrNotPinned)
	}
	roots := x509.NewCertPool()
	roots.AddCert(pinned)
	// A machine without a battery wakes up in 1970 or at its kernel's build date, before its head's certificate
	// begins, and gets the time only from the head. A clock that is behind cannot be told from a certificate of the
	// future, and such a certificate needs the CA's key all the same, so nothing is lost by going forward to the
	// moment when the certificates begin. An expired one is still refused as soon as the clock is right.
	at := now
	for _, c := range []*x509.Certificate{chain[0], pinned} {
		if at.Before(c.NotBefore) {
			at = c.NotBefore
		}
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: between,
		CurrentTime:   at,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return fmt.Errorf("server certificate %q: %w", chain[0].Subject.CommonName, err)
	}
	return nil
}
