package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// Hash is a SHA-256: of a record, of a part of the state, or of all of it.
type Hash [sha256.Size]byte

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Compare orders hashes by their bytes.
func (h Hash) Compare(other Hash) int { return bytes.Compare(h[:], other[:]) }

// MarshalText gives the hexadecimal form.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (h *Hash) UnmarshalText(text []byte) error {
	if len(text) != 2*len(h) {
		return fmt.Errorf("hash %q: want %d hexadecimal digits", text, 2*len(h))
	}
	if _, err := hex.Decode(h[:], text); err != nil {
		return fmt.Errorf("hash %q: %w", text, err)
	}
	return nil
}

// Hash is that of the key and the stored form in the present format, whatever format the record was read from.
func (r Record) Hash() Hash {
	return sha256.Sum256(append([]byte(r.Key.String()+"\x00"), r.Encode()...)) // no key has a NUL
}

// Stamp identifies one version of a record without its value.
type Stamp struct {
	Key     Key     `json:"key"`
	Version Version `json:"version"`
	Hash    Hash    `json:"hash"`
}

// Stamp gives that of r.
func (r Record) Stamp() Stamp { return Stamp{r.Key, r.Version, r.Hash()} }
