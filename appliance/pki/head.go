package pki

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"masthead/images"
)

const headKeyFile = "head.key"

// HeadKey tells one head of a cluster from the others. It stays for as long as the head is in its cluster: the others
// know the head by the digest of its public half, so a certificate may be renewed at any time, and a head whose digest
// they have forgotten is none any more, whatever certificate it shows.
type HeadKey struct{ key *ecdsa.PrivateKey }

// OpenHeadKey reads the key from dir, and makes it where there is none.
func OpenHeadKey(dir string) (*HeadKey, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("pki: %w", err)
	}
	path := filepath.Join(dir, headKeyFile)
	data, err := loadOrMake(path, newKey)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(data)
	if err != nil {
		return nil, fmt.Errorf("pki: %s: %w", path, err)
	}
	return &HeadKey{key}, nil
}

// Digest names the key to other heads.
func (k *HeadKey) Digest() images.Digest {
	der, err := x509.MarshalPKIXPublicKey(&k.key.PublicKey)
	if err != nil {
		panic(err) // a P-256 key, which parseKey has made sure of, has this form always
	}
	sum := sha256.Sum256(der)
	return images.DigestFromSum(sum[:])
}

// KeyOf is the digest of the key that a certificate is for.
func KeyOf(c *x509.Certificate) images.Digest {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return images.DigestFromSum(sum[:])
}

// Request is a certificate signing request (RFC 2986) in DER: it proves that whoever sends it holds the key.
func (k *HeadKey) Request(name string) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, k.key)
	if err != nil {
		return nil, fmt.Errorf("pki: make a certificate request: %w", err)
	}
	return der, nil
}

// CheckRequest gives the digest of the key that a certificate signing request is for, if it is for that head and signed
// with that key.
func CheckRequest(der []byte, name string) (images.Digest, error) {
	r, err := x509.ParseCertificateRequest(der)
	if err == nil {
		err = r.CheckSignature()
	}
	if err != nil {
		return "", fmt.Errorf("pki: certificate request: %w", err)
	}
	if _, ok := r.PublicKey.(*ecdsa.PublicKey); !ok {
		return "", errors.New("pki: certificate request: not for an ECDSA key")
	}
	if r.Subject.CommonName != name {
		return "", fmt.Errorf("pki: certificate request: it is for %q, not for %q", r.Subject.CommonName, name)
	}
	sum := sha256.Sum256(r.RawSubjectPublicKeyInfo)
	return images.DigestFromSum(sum[:]), nil
}
