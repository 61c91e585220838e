package pki

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"masthead/images"
)

// ErrToken is a token that is not valid. It says nothing more to whoever brings it.
var ErrToken = errors.New("the token is not valid")

// Boot is what a boot token vouches for: this boot of this machine.
type Boot struct {
	ID      string // of the boot
	MAC     string // lower case, with colons
	Role    images.Role
	Expires time.Time // to the second
}

// A boot token is a prefix and the base64 (RFC 4648, 5; without padding) of
//
//	0    version, 1
//	1    number of the key
//	2    expiry, seconds since 1970, big endian
//	10   MAC address
//	16   role: 0 worker, 1 head
//	17   boot id, to the last 32 bytes
//	-32  HMAC-SHA256 of all before
//
// Any head with the cluster's keys can check it, and none has to remember it.
const (
	tokenPrefix  = "mhb_"
	tokenVersion = 1
	tokenFixed   = 17
	maxBootID    = 64
	maxToken     = len(tokenPrefix) + (tokenFixed+maxBootID+sha256.Size)*4/3 + 4
)

// tokenKey is one HMAC key.
type tokenKey struct {
	Number byte   `json:"number"`
	Secret []byte `json:"secret"`
}

// Tokens makes and checks boot tokens. Two keys are valid: the newest, which signs, and the one before, so that a
// rotation cuts nobody off.
type Tokens struct {
	path string

	mu   sync.RWMutex
	keys []tokenKey // the newest first; one or two
}

// OpenTokens reads the keys from dir, and makes them where there are none.
func OpenTokens(dir string) (*Tokens, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("pki: %w", err)
	}
	t := &Tokens{path: filepath.Join(dir, "token.keys")}
	data, err := loadOrMake(t.path, func() ([]byte, error) {
		key, err := newTokenKey(0)
		if err != nil {
			return nil, err
		}
		return json.Marshal([]tokenKey{key})
	})
	if err != nil {
		return nil, err
	}
	if t.keys, err = parseTokenKeys(data); err != nil {
		return nil, fmt.Errorf("pki: %s: %w; remove it to make new keys: running machines say hello again then", t.path, err)
	}
	return t, nil
}

func newTokenKey(number byte) (tokenKey, error) {
	secret := make([]byte, sha256.Size)
	if _, err := rand.Read(secret); err != nil {
		return tokenKey{}, fmt.Errorf("pki: make a token key: %w", err)
	}
	return tokenKey{number, secret}, nil
}

func parseTokenKeys(data []byte) ([]tokenKey, error) {
	var keys []tokenKey
	if json.Unmarshal(data, &keys) != nil || checkTokenKeys(keys) != nil {
		return nil, errors.New("damaged")
	}
	return keys, nil
}

func checkTokenKeys(keys []tokenKey) error {
	if len(keys) < 1 || len(keys) > 2 || len(keys) == 2 && keys[0].Number == keys[1].Number {
		return errors.New("damaged")
	}
	for _, k := range keys {
		if len(k.Secret) != sha256.Size {
			return errors.New("damaged")
		}
	}
	return nil
}

// Rotate makes a new key to sign with. The one that signed until now stays valid, the one before it does not.
func (t *Tokens) Rotate() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	key, err := newTokenKey(t.keys[0].Number + 1)
	if err != nil {
		return err
	}
	return t.set([]tokenKey{key, t.keys[0]})
}

// replace makes keys that were found whole the only ones.
func (t *Tokens) replace(keys []tokenKey) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.set(keys)
}

// set writes the keys down, and then uses them. The caller holds mu.
func (t *Tokens) set(keys []tokenKey) error {
	data, err := json.Marshal(keys)
	if err != nil {
		return fmt.Errorf("pki: token keys: %w", err)
	}
	if err := writeSecret(t.path, data); err != nil {
		return err
	}
	t.keys = keys
	return nil
}

// Issue makes a token.
func (t *Tokens) Issue(b Boot) (string, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return encodeToken(b, t.keys[0])
}

// Verify checks a token and gives what it vouches for, or ErrToken.
func (t *Tokens) Verify(token string, now time.Time) (Boot, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	b, err := decodeToken(token, t.keys)
	if err != nil {
		return Boot{}, err
	}
	if !now.Before(b.Expires) {
		return Boot{}, fmt.Errorf("%w: it has expired", ErrToken)
	}
	return b, nil
}

func encodeToken(b Boot, key tokenKey) (string, error) {
	mac, err := net.ParseMAC(b.MAC)
	if err != nil || len(mac) != 6 {
		return "", fmt.Errorf("pki: token: %q is not a MAC address", b.MAC)
	}
	if b.ID == "" || len(b.ID) > maxBootID || (b.Role != images.RoleHead && b.Role != images.RoleWorker) || b.Expires.Unix() < 0 {
		return "", fmt.Errorf("pki: token: boot id of %d bytes, role %q, expiry %v", len(b.ID), b.Role, b.Expires)
	}
	out := []byte{tokenVersion, key.Number}
	out = binary.BigEndian.AppendUint64(out, uint64(b.Expires.Unix()))
	out = append(out, mac...)
	out = append(out, roleByte(b.Role))
	out = append(out, b.ID...)
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(append(out, sign(out, key)...)), nil
}

func decodeToken(token string, keys []tokenKey) (Boot, error) {
	text, ok := strings.CutPrefix(token, tokenPrefix)
	if !ok || len(token) > maxToken {
		return Boot{}, ErrToken
	}
	// Strict: the bits that the last character has too many must be zero, or one token would have several spellings.
	data, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(data) <= tokenFixed+sha256.Size || data[0] != tokenVersion {
		return Boot{}, ErrToken
	}
	body, sum := data[:len(data)-sha256.Size], data[len(data)-sha256.Size:]
	valid := false
	for _, k := range keys {
		valid = valid || k.Number == body[1] && hmac.Equal(sum, sign(body, k))
	}
	seconds := binary.BigEndian.Uint64(body[2:])
	if !valid || body[16] > 1 || seconds > 1<<40 || len(body)-tokenFixed > maxBootID {
		return Boot{}, ErrToken
	}
	role := images.RoleWorker
	if body[16] == roleByte(images.RoleHead) {
		role = images.RoleHead
	}
	return Boot{
		ID:      string(body[tokenFixed:]),
		MAC:     net.HardwareAddr(body[10:16]).String(),
		Role:    role,
		Expires: time.Unix(int64(seconds), 0).UTC(),
	}, nil
}

func roleByte(r images.Role) byte {
	if r == images.RoleHead {
		return 1
	}
	return 0
}

func sign(body []byte, key tokenKey) []byte {
	h := hmac.New(sha256.New, key.Secret)
	h.Write(body)
	return h.Sum(nil)
}
