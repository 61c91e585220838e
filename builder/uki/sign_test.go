package uki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"masthead/vmtest/prerequisite"
)

func newKey(t *testing.T, key crypto.Signer) (keyPEM, certificatePEM []byte) {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func rsaKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// verifier has a foreign program look for a signature that a certificate vouches for.
func verifier(t *testing.T, certificatePEM []byte) func(image []byte) ([]byte, error) {
	t.Helper()
	verify, dir := prerequisite.Program(t, "sbverify"), t.TempDir()
	return func(image []byte) ([]byte, error) {
		for name, data := range map[string][]byte{"image.efi": image, "cert.pem": certificatePEM} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return exec.Command(verify, "--cert", filepath.Join(dir, "cert.pem"), filepath.Join(dir, "image.efi")).CombinedOutput()
	}
}

// A foreign program finds the signature right, and what was in the image is where it was.
func TestSign(t *testing.T) {
	img := sample()
	img.Stub = realStub(t)
	l, err := Plan(img)
	if err != nil {
		t.Fatal(err)
	}
	keyPEM, certificatePEM := newKey(t, rsaKey(t))
	s, err := ParseSigner(keyPEM, certificatePEM)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := s.Sign(l)
	if err != nil {
		t.Fatal(err)
	}
	plain := readAll(t, l)
	for _, section := range l.Sections {
		if !bytes.Equal(signed[section.Offset:section.Offset+section.Size], plain[section.Offset:section.Offset+section.Size]) {
			t.Errorf("section %s is not where it was", section.Name)
		}
	}
	check := verifier(t, certificatePEM)
	if out, err := check(signed); err != nil {
		t.Errorf("sbverify: %v\n%s", err, out)
	}
	changed := bytes.Clone(signed)
	changed[l.Sections[len(l.Sections)-1].Offset+100] ^= 1
	if out, err := check(changed); err == nil {
		t.Errorf("sbverify takes a changed kernel:\n%s", out)
	}
}

// TestAppend: an image that somebody has signed has both signatures then.
func TestAppend(t *testing.T) {
	image := realStub(t)
	var certificates [][]byte
	for range 2 {
		keyPEM, certificatePEM := newKey(t, rsaKey(t))
		s, err := ParseSigner(keyPEM, certificatePEM)
		if err != nil {
			t.Fatal(err)
		}
		if image, err = s.Append(image); err != nil {
			t.Fatal(err)
		}
		certificates = append(certificates, certificatePEM)
	}
	for i, c := range certificates {
		if out, err := verifier(t, c)(image); err != nil {
			t.Errorf("signature %d: %v\n%s", i+1, err, out)
		}
	}
	_, other := newKey(t, rsaKey(t))
	if out, err := verifier(t, other)(image); err == nil {
		t.Errorf("a certificate that signed nothing: %s", out)
	}
}

func TestParseSignerRefuses(t *testing.T) {
	keyPEM, certificatePEM := newKey(t, rsaKey(t))
	_, other := newKey(t, rsaKey(t))
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, ecCertificate := newKey(t, curve)
	for name, tt := range map[string]struct {
		key, certificate []byte
		want             string
	}{
		"no key":            {nil, certificatePEM, "key: no PEM block"},
		"a password":        {[]byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"), certificatePEM, "has a password"},
		"certificate first": {certificatePEM, keyPEM, "PEM block CERTIFICATE, want PRIVATE KEY"},
		"no certificate":    {keyPEM, keyPEM, "no PEM block CERTIFICATE"},
		"another's":         {keyPEM, other, "not that of the key"},
		"elliptic curve":    {ecKey, ecCertificate, "want RSA"},
	} {
		if _, err := ParseSigner(tt.key, tt.certificate); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got error %v, want one with %q", name, err, tt.want)
		}
	}
}
