package images

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// digestPrefix is the algorithm name, as in the OCI image specification ("sha256:<hex>").
const digestPrefix = "sha256:"

// Digest names stored bytes: "sha256:" and 64 lower-case hexadecimal digits. The zero value names nothing.
type Digest string

// DigestOf is the Digest of data.
func DigestOf(data []byte) Digest {
	sum := sha256.Sum256(data)
	return DigestFromSum(sum[:])
}

// DigestFromSum makes a Digest of a 32-byte SHA-256 sum.
func DigestFromSum(sum []byte) Digest {
	return Digest(digestPrefix + hex.EncodeToString(sum))
}

// ParseDigest accepts "sha256:<hex>" and bare hex.
func ParseDigest(s string) (Digest, error) {
	h := strings.TrimPrefix(s, digestPrefix)
	if len(h) != sha256.Size*2 {
		return "", fmt.Errorf("digest %q: want sha256: and %d hexadecimal digits", s, sha256.Size*2)
	}
	if _, err := hex.DecodeString(h); err != nil || strings.ToLower(h) != h {
		return "", fmt.Errorf("digest %q: not lower-case hexadecimal", s)
	}
	return Digest(digestPrefix + h), nil
}

// Hex is the digest without its algorithm.
func (d Digest) Hex() string { return strings.TrimPrefix(string(d), digestPrefix) }

// Short is the first twelve digits, for people.
func (d Digest) Short() string {
	h := d.Hex()
	return h[:min(12, len(h))]
}

// Valid reports whether d is well formed.
func (d Digest) Valid() bool {
	p, err := ParseDigest(string(d))
	return err == nil && p == d
}

// Sum is the 32 bytes of a valid digest.
func (d Digest) Sum() [sha256.Size]byte {
	var sum [sha256.Size]byte
	if b, err := hex.DecodeString(d.Hex()); err == nil {
		copy(sum[:], b)
	}
	return sum
}

// Blob is a whole stored file: a kernel, an initramfs, a loader, a manifest.
type Blob struct {
	Digest Digest `json:"digest"`
	Size   int64  `json:"size"` // bytes
}
