package pki

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"masthead/images"
)

// shared are the secrets of a cluster that can be changed while it runs. The heads hand them on as JSON.
type shared struct {
	TokenKeys []tokenKey `json:"token_keys"`
	Admin     string     `json:"admin_token"`
}

// takenFile holds the digest of what the files were taken from last. What somebody has changed by hand since then stays.
const takenFile = "shared.taken"

// NewShared makes new keys of boot tokens, of which none is an old one, and a new administrator's token. It is secret.
func NewShared() (json.RawMessage, error) {
	key, err := newTokenKey(0)
	if err != nil {
		return nil, err
	}
	admin, err := newAdminToken()
	if err != nil {
		return nil, err
	}
	return json.Marshal(shared{[]tokenKey{key}, admin})
}

func parseShared(data []byte) (shared, error) {
	var s shared
	if json.Unmarshal(data, &s) != nil || checkTokenKeys(s.TokenKeys) != nil || checkAdmin(s.Admin) != nil {
		return shared{}, errors.New("pki: the cluster's new keys are damaged") // the cause could quote them
	}
	return s, nil
}

// TakeShared makes what NewShared gave on any head the secrets of this one: those of the files in dir, and those that
// tokens and admin check from now on. What was taken last is not taken again. After a power cut it is done again.
func TakeShared(dir string, data []byte, tokens *Tokens, admin *Admin) (news bool, err error) {
	digest := string(images.DigestOf(data))
	path := filepath.Join(dir, takenFile)
	last, err := readSecret(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if string(last) == digest {
		return false, nil
	}
	s, err := parseShared(data)
	if err != nil {
		return false, err
	}
	if err := tokens.replace(s.TokenKeys); err != nil {
		return false, err
	}
	if err := admin.replace(s.Admin); err != nil {
		return false, err
	}
	return true, writeSecret(path, []byte(digest))
}

func newAdminToken() (string, error) {
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return "", fmt.Errorf("pki: make the administrator's token: %w", err)
	}
	return adminPrefix + base64.RawURLEncoding.EncodeToString(secret), nil
}
