package ownership

import (
	"crypto/tls"
	"errors"
	"fmt"

	"masthead/appliance/pki"
	"masthead/images"
)

// headTLS makes the configurations with which the daemons of heads talk to one another: a head is its key, as the state
// knows it, and no name or date on a certificate counts besides.
type headTLS struct {
	own  *pki.Server
	keys func() map[string]images.Digest // of the configured heads, now
}

// openTLS reads this head's key and the cluster's CA.
func openTLS(dir, self string, keys func() map[string]images.Digest) (*headTLS, error) {
	authority, err := pki.OpenAuthority(dir, "masthead")
	if err != nil {
		return nil, err
	}
	key, err := pki.OpenHeadKey(dir)
	if err != nil {
		return nil, err
	}
	own, err := pki.NewServer(authority, key, pki.Names{Head: self, Hosts: []string{self}}, nil)
	if err != nil {
		return nil, err
	}
	return &headTLS{own, keys}, nil
}

// accept is for connections of any configured head.
func (t *headTLS) accept() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, GetCertificate: t.own.GetCertificate, ClientAuth: tls.RequireAnyClientCert,
		VerifyConnection: t.verify(func(key images.Digest) error {
			for _, k := range t.keys() {
				if k == key {
					return nil
				}
			}
			return fmt.Errorf("whoever calls is no configured head: key %s", key.Short())
		}),
	}
}

// dial is for a connection to one of them.
func (t *headTLS) dial(head string) (*tls.Config, error) {
	want, ok := t.keys()[head]
	if !ok {
		return nil, fmt.Errorf("%s is not a configured head", head)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, GetClientCertificate: t.own.GetClientCertificate,
		InsecureSkipVerify: true, // VerifyConnection does it, for resumed connections too
		VerifyConnection: t.verify(func(key images.Digest) error {
			if key != want {
				return fmt.Errorf("head %s: whoever answers at its address has another key than the state knows: %s", head, key.Short())
			}
			return nil
		}),
	}, nil
}

func (t *headTLS) verify(check func(images.Digest) error) func(tls.ConnectionState) error {
	return func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return errors.New("the head shows no certificate")
		}
		return check(pki.KeyOf(s.PeerCertificates[0]))
	}
}
