package pki

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

const adminPrefix = "mha_"

// Admin is the administrator's token: whoever can read its file is the administrator.
type Admin struct {
	path string

	mu  sync.RWMutex
	sum [sha256.Size]byte
}

// OpenAdmin reads the token from dir, and makes it where there is none. To change it, remove the file and restart.
func OpenAdmin(dir string) (*Admin, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("pki: %w", err)
	}
	a := &Admin{path: filepath.Join(dir, "admin.token")}
	data, err := loadOrMake(a.path, func() ([]byte, error) {
		token, err := newAdminToken()
		return []byte(token + "\n"), err
	})
	if err != nil {
		return nil, err
	}
	token := strings.TrimSpace(string(data))
	if err := checkAdmin(token); err != nil {
		return nil, fmt.Errorf("pki: %s: %w; remove it to make a new one", a.path, err)
	}
	a.sum = sha256.Sum256([]byte(token))
	return a, nil
}

func checkAdmin(token string) error {
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(token, adminPrefix))
	if err != nil || len(raw) < 32 {
		return errors.New("damaged")
	}
	return nil
}

// replace makes another token the administrator's, which was found whole.
func (a *Admin) replace(token string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := writeSecret(a.path, []byte(token+"\n")); err != nil {
		return err
	}
	a.sum = sha256.Sum256([]byte(token))
	return nil
}

// Path is the file that holds the token.
func (a *Admin) Path() string { return a.path }

// Verify reports whether token is the administrator's, in a time that does not depend on either.
func (a *Admin) Verify(token string) bool {
	sum := sha256.Sum256([]byte(token)) // equal lengths, whatever was sent
	a.mu.RLock()
	defer a.mu.RUnlock()
	return subtle.ConstantTimeCompare(sum[:], a.sum[:]) == 1
}

// minGiven is the fewest characters of a token that somebody else made: 128 bits in hexadecimal.
const minGiven = 32

// GivenAdmin is the Admin of a token that the machine's owner handed in. It is kept nowhere.
func GivenAdmin(token string) (*Admin, error) {
	token = strings.TrimSpace(token)
	if len(token) < minGiven {
		return nil, fmt.Errorf("pki: the administrator's token that was handed in has %d characters, want %d or more", len(token), minGiven)
	}
	return &Admin{sum: sha256.Sum256([]byte(token))}, nil
}
