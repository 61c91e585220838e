package wire

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"masthead/images"
)

// PresentedCA connects to a head at addr (HOST:PORT) and gives the digest of the CA certificate that it shows. Nothing
// vouches for it: whoever answers could show any. It is for the first contact over a path that is trusted for another
// reason, such as a lab's own loopback; all later contact pins the digest.
func PresentedCA(ctx context.Context, addr string) (images.Digest, error) {
	d := tls.Dialer{
		NetDialer: &net.Dialer{Timeout: dialTimeout},
		Config:    &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true},
	}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	chain := conn.(*tls.Conn).ConnectionState().PeerCertificates
	for _, c := range chain {
		if c.IsCA {
			sum := sha256.Sum256(c.Raw)
			ca := images.DigestFromSum(sum[:])
			return ca, verifyPinned(chain, ca, time.Now())
		}
	}
	return "", fmt.Errorf("%s: %w", addr, errors.New("the server shows no CA certificate"))
}
