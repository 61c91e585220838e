package uki

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"

	"github.com/foxboron/go-uefi/authenticode"
)

// Signer is a key of one's own whose certificate is enrolled in the firmware.
type Signer struct {
	key         *rsa.PrivateKey
	certificate *x509.Certificate
}

// ParseSigner reads a private key (PKCS #1 or #8, without a password) and its certificate from PEM. The key must be RSA:
// firmware need not know another (UEFI 2.10, 32.4.1).
func ParseSigner(keyPEM, certificatePEM []byte) (*Signer, error) {
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	block, _ := pem.Decode(certificatePEM)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("certificate: no PEM block CERTIFICATE")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	if !key.PublicKey.Equal(certificate.PublicKey) {
		return nil, errors.New("the certificate is not that of the key")
	}
	return &Signer{key, certificate}, nil
}

func parseKey(data []byte) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	switch block.Type {
	case "RSA PRIVATE KEY":
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	case "PRIVATE KEY":
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, err
		}
		if rsaKey, ok := key.(*rsa.PrivateKey); ok {
			return rsaKey, nil
		}
		return nil, fmt.Errorf("is a %T, want RSA", key)
	case "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("has a password; take it off first: openssl pkey -in KEY -out PLAIN")
	}
	return nil, fmt.Errorf("PEM block %s, want PRIVATE KEY", block.Type)
}

// Sign gives the image with a signature (Authenticode) behind it: all that was in it stays at its offset. The signature
// holds the present time, so two of the same image differ.
func (s *Signer) Sign(l Layout) ([]byte, error) {
	r, err := l.Open()
	if err != nil {
		return nil, fmt.Errorf("sign the unified kernel image: %w", err)
	}
	data, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err == nil {
		data, err = s.Append(data)
	}
	if err != nil {
		return nil, fmt.Errorf("sign the unified kernel image: %w", err)
	}
	return data, nil
}

// Append gives a PE image with one more signature behind those that it has: firmware takes it when it knows the key of any.
func (s *Signer) Append(image []byte) ([]byte, error) {
	binary, err := authenticode.Parse(bytes.NewReader(image))
	if err != nil {
		return nil, err
	}
	if _, err := binary.Sign(s.key, s.certificate); err != nil {
		return nil, err
	}
	return binary.Bytes(), nil
}
