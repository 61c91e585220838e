package pki

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"masthead/images"
)

const (
	// serverLife is how long a head's certificate is valid. It is made anew at every start and at half of that, so its
	// length matters only to heads that run for years.
	serverLife = 2 * 365 * 24 * time.Hour
)

// clockFloor is before this program was written: a head whose clock says less has no clock, and must not sign
// certificates that are over when its machines, which have one, see them.
var clockFloor = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Names are what a head's certificate is valid for.
type Names struct {
	Head      string // its common name
	Hosts     []string
	Addresses []netip.Addr
}

// Server keeps the certificate that a head shows, to those who connect to its HTTPS port and to other heads that it
// connects to itself. What machines know is the authority; what other heads know is the key.
type Server struct {
	authority *Authority
	key       *HeadKey
	now       func() time.Time

	mu    sync.Mutex
	names Names
	cert  *tls.Certificate
	renew time.Time
}

// NewServer makes the certificate for names. now may be nil.
func NewServer(a *Authority, key *HeadKey, names Names, now func() time.Time) (*Server, error) {
	if now == nil {
		now = time.Now
	}
	s := &Server{authority: a, key: key, now: now}
	return s, s.SetNames(names)
}

// SetNames makes a new certificate if names differ from those of the present one.
func (s *Server) SetNames(names Names) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	names = normal(names)
	if s.cert != nil && names.Head == s.names.Head && slices.Equal(names.Hosts, s.names.Hosts) && slices.Equal(names.Addresses, s.names.Addresses) {
		return nil
	}
	return s.issue(names)
}

// GetCertificate is for tls.Config. It renews the certificate when half its life is over; if that fails, the old one
// goes on.
func (s *Server) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now().After(s.renew) {
		if err := s.issue(s.names); err != nil && s.now().After(s.cert.Leaf.NotAfter) {
			return nil, err
		}
	}
	return s.cert, nil
}

// GetClientCertificate is GetCertificate for the side that connects.
func (s *Server) GetClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return s.GetCertificate(nil)
}

// Key names the head to the others.
func (s *Server) Key() images.Digest { return s.key.Digest() }

// TLSConfig is that of the HTTPS port. It asks for a certificate and requires none: only other heads have one. Whose it
// is stays to be found out by its key (KeyOf). The authority is named to whoever connects, so that a browser that holds
// other certificates does not offer them.
func (s *Server) TLSConfig() *tls.Config {
	heads := x509.NewCertPool()
	heads.AddCert(s.authority.cert)
	return &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: s.GetCertificate, ClientAuth: tls.RequestClientCert, ClientCAs: heads}
}

func (s *Server) issue(names Names) error {
	key := s.key.key
	now := s.now()
	if now.Before(clockFloor) {
		now = clockFloor
	}
	der, err := s.authority.sign(names, &key.PublicKey, now.Add(serverLife))
	if err != nil {
		return err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("pki: the head's certificate: %w", err)
	}
	s.names, s.renew = names, now.Add(serverLife/2)
	// The authority is sent too: clients know it by its digest alone, and look for it in the chain.
	s.cert = &tls.Certificate{Certificate: [][]byte{der, s.authority.cert.Raw}, PrivateKey: key, Leaf: leaf}
	return nil
}

func (a *Authority) sign(names Names, key *ecdsa.PublicKey, until time.Time) ([]byte, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: names.Head},
		NotBefore:    authorityBegins, // for machines whose clock is not set yet
		NotAfter:     until,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:     names.Hosts,
	}
	for _, addr := range names.Addresses {
		template.IPAddresses = append(template.IPAddresses, net.IP(addr.AsSlice()))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key, a.key)
	if err != nil {
		return nil, fmt.Errorf("pki: sign the certificate of a head: %w", err)
	}
	return der, nil
}

// normal puts names in one order, each once, so that they can be compared.
func normal(n Names) Names {
	hosts := slices.Clone(n.Hosts)
	slices.Sort(hosts)
	var addrs []netip.Addr
	for _, a := range n.Addresses {
		if a.IsValid() {
			addrs = append(addrs, a.Unmap().WithZone(""))
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return Names{n.Head, slices.Compact(hosts), slices.Compact(addrs)}
}
