package pki

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"masthead/images"
)

// JoinToken lets one machine join a cluster as a head. It carries what the machine needs to know before it can trust
// anybody: whose cluster it is and where its heads are.
type JoinToken struct {
	Secret  [16]byte
	CA      images.Digest // of the cluster
	Expires time.Time     // to the second
	URLs    []string      // of heads, https
}

// A join token is a prefix and the base64 (RFC 4648, 5; without padding) of
//
//	0    version, 1
//	1    secret
//	17   SHA-256 of the authority's certificate
//	49   expiry, seconds since 1970, big endian
//	57   URLs of heads, separated by blanks
//	-4   the first bytes of the SHA-256 of all before, against slips of whoever copies it
const (
	joinPrefix  = "mhj_"
	joinVersion = 1
	joinFixed   = 57
	joinCheck   = 4
	maxJoin     = 2048 // characters; a URL is about 25 bytes
)

// ErrJoinToken is a text that is no join token.
var ErrJoinToken = errors.New("this is not a join token, or not the whole of it")

// NewJoinToken makes a token.
func NewJoinToken(ca images.Digest, urls []string, expires time.Time) (JoinToken, error) {
	t := JoinToken{CA: ca, Expires: expires.UTC().Truncate(time.Second), URLs: urls}
	if _, err := rand.Read(t.Secret[:]); err != nil {
		return t, fmt.Errorf("pki: make a join token: %w", err)
	}
	_, err := t.encode()
	return t, err
}

// ID names the token to whoever keeps account of it, and does not give it away.
func (t JoinToken) ID() string {
	sum := sha256.Sum256(append([]byte(joinPrefix), t.Secret[:]...))
	return hex.EncodeToString(sum[:])
}

// String is the token itself, a secret.
func (t JoinToken) String() string {
	s, err := t.encode()
	if err != nil {
		return ""
	}
	return s
}

func (t JoinToken) encode() (string, error) {
	ca, err := hex.DecodeString(t.CA.Hex())
	if err != nil || len(ca) != sha256.Size {
		return "", fmt.Errorf("pki: join token: CA %q", t.CA)
	}
	if t.Expires.Unix() < 0 {
		return "", fmt.Errorf("pki: join token: expiry %v", t.Expires)
	}
	for _, u := range t.URLs {
		if !headURL(u) {
			return "", fmt.Errorf("pki: join token: %q is not the URL of a head", u)
		}
	}
	out := append([]byte{joinVersion}, t.Secret[:]...)
	out = append(out, ca...)
	out = binary.BigEndian.AppendUint64(out, uint64(t.Expires.Unix()))
	out = append(out, strings.Join(t.URLs, " ")...)
	sum := sha256.Sum256(out)
	text := joinPrefix + base64.RawURLEncoding.EncodeToString(append(out, sum[:joinCheck]...))
	if len(text) > maxJoin {
		return "", fmt.Errorf("pki: join token: %d URLs are too many", len(t.URLs))
	}
	return text, nil
}

// ParseJoinToken reads a token, with blanks around it as a file or a hand leaves them. It tells nothing of whether the
// cluster will take it.
func ParseJoinToken(text string) (JoinToken, error) {
	text = strings.TrimSpace(text)
	body, ok := strings.CutPrefix(text, joinPrefix)
	if !ok || len(text) > maxJoin {
		return JoinToken{}, ErrJoinToken
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil || len(data) < joinFixed+joinCheck || data[0] != joinVersion {
		return JoinToken{}, ErrJoinToken
	}
	data, check := data[:len(data)-joinCheck], data[len(data)-joinCheck:]
	seconds := binary.BigEndian.Uint64(data[49:])
	if sum := sha256.Sum256(data); string(sum[:joinCheck]) != string(check) || seconds > 1<<40 {
		return JoinToken{}, ErrJoinToken
	}
	t := JoinToken{CA: images.DigestFromSum(data[17:49]), Expires: time.Unix(int64(seconds), 0).UTC()}
	copy(t.Secret[:], data[1:])
	if len(data) > joinFixed {
		t.URLs = strings.Split(string(data[joinFixed:]), " ")
	}
	if again, err := t.encode(); err != nil || again != text {
		return JoinToken{}, ErrJoinToken
	}
	return t, nil
}

func headURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Scheme == "https" && u.Host != "" && u.Path == "" && u.RawQuery == "" && u.Fragment == "" &&
		u.User == nil && !strings.ContainsAny(s, " \t\n")
}
