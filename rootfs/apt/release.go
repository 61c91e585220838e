package apt

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/openpgp"
	"pault.ag/go/debian/control"
)

// Release is the verified content of a suite's InRelease.
type Release struct {
	Codename   string
	Suite      string
	ByHash     bool // index files can be had by their digest, which a mirror that changes meanwhile cannot break
	ValidUntil time.Time
	files      map[string]listed
}

// listed is a file that a Release vouches for.
type listed struct {
	sha256 string
	size   int64
}

// parseRelease verifies the signature of an InRelease and reads it. An unsigned one is an error.
func parseRelease(data []byte, keys openpgp.EntityList) (*Release, error) {
	pr, err := control.NewParagraphReader(bytes.NewReader(data), &keys)
	if err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	if pr.Signer() == nil {
		return nil, errors.New("signature: there is none")
	}
	p, err := pr.Next()
	if err != nil {
		return nil, err
	}
	return readRelease(p.Values)
}

func readRelease(field map[string]string) (*Release, error) {
	r := &Release{
		Codename: field["Codename"],
		Suite:    field["Suite"],
		ByHash:   field["Acquire-By-Hash"] == "yes",
		files:    map[string]listed{},
	}
	if v := field["Valid-Until"]; v != "" {
		var err error
		if r.ValidUntil, err = time.Parse("Mon, 02 Jan 2006 15:04:05 MST", v); err != nil {
			return nil, fmt.Errorf("Valid-Until: %w", err)
		}
	}
	for line := range strings.Lines(field["SHA256"]) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) != 3 {
			return nil, fmt.Errorf("SHA256: line %q: want a digest, a size and a name", line)
		}
		size, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil || size < 0 || !validSHA256(f[0]) {
			return nil, fmt.Errorf("SHA256: line %q: want a digest, a size and a name", line)
		}
		r.files[f[2]] = listed{f[0], size}
	}
	return r, nil
}

func validSHA256(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 32
}

// check tells why a release that was just downloaded must not be used for suite at the time now.
func (r *Release) check(suite string, now time.Time, checkValid bool) error {
	if suite != r.Codename && suite != r.Suite {
		return fmt.Errorf("it is for %s (%s)", r.Codename, r.Suite)
	}
	if checkValid && !r.ValidUntil.IsZero() && now.After(r.ValidUntil) {
		return fmt.Errorf("it expired on %s", r.ValidUntil.Format(time.DateOnly))
	}
	return nil
}
