package apt

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Config says how a Client works. Cache is needed; all else has a default.
type Config struct {
	Cache    string        // directory of what was downloaded; made where it is missing
	Root     string        // file system with apt's settings and keyrings; default /
	Arch     string        // Debian architecture; default amd64
	MaxAge   time.Duration // how long lists are used without asking again; default DefaultMaxAge, negative: always ask
	Progress func(uri string, done, total int64)
	Now      func() time.Time
}

// Client gets packages from archives. It keeps what it downloads in its cache, verifies it at every use, and works from
// the cache when the archive cannot be reached. Several clients, also in several processes, may share one cache.
type Client struct {
	Config
	settings Settings
	http     *http.Client
}

// NewClient checks the configuration and reads apt's settings.
func NewClient(c Config) (*Client, error) {
	if c.Cache == "" {
		return nil, errors.New("package archives: no cache directory is given")
	}
	if c.Root == "" {
		c.Root = "/"
	}
	if c.Arch == "" {
		c.Arch = "amd64"
	}
	if c.MaxAge == 0 {
		c.MaxAge = DefaultMaxAge
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	settings, err := ReadSettings(c.Root)
	if err != nil {
		return nil, err
	}
	return &Client{Config: c, settings: settings, http: newHTTPClient(settings)}, nil
}

const (
	maxInRelease = 16 << 20
	maxPackages  = 1 << 30 // decompressed
)

// Release gets and verifies the InRelease of a source with exactly one suite. When the archive cannot be reached, or its
// answer does not verify, an earlier one from the cache is used. A suite that the archive does not have is an error
// that satisfies IsNoSuite.
func (c *Client) Release(ctx context.Context, s Source) (*Release, error) {
	uri := s.URI + "/dists/" + s.Suites[0] + "/InRelease"
	keys, err := keyring(c.Root, s)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", uri, err)
	}
	file := c.listFile(uri)
	if st, err := os.Stat(file); err == nil && c.Now().Sub(st.ModTime()) < c.MaxAge {
		if r, err := c.cachedRelease(file, s); err == nil {
			return r, nil
		}
	}
	if err := os.MkdirAll(c.Cache, 0o755); err != nil {
		return nil, fmt.Errorf("%s: %w", uri, err)
	}
	tmp, err := os.MkdirTemp(c.Cache, ".list-") // it takes its place only once it is verified
	if err != nil {
		return nil, fmt.Errorf("%s: %w", uri, err)
	}
	defer os.RemoveAll(tmp)
	fresh := filepath.Join(tmp, "InRelease")
	if err := c.download(ctx, uri, fresh, listed{}, maxInRelease); err != nil {
		if gone(err) || ctx.Err() != nil {
			return nil, err
		}
		return c.fallBack(file, s, err)
	}
	data, err := os.ReadFile(fresh)
	if err != nil {
		return nil, err
	}
	r, err := parseRelease(data, keys)
	if err == nil {
		err = r.check(s.Suites[0], c.Now(), c.settings.CheckValidUntil)
	}
	if err != nil {
		return c.fallBack(file, s, fmt.Errorf("%s: %w", uri, err))
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, fmt.Errorf("%s: %w", uri, err)
	}
	return r, os.Rename(fresh, file)
}

// fallBack is the cached release, or the error why there is no fresh one.
func (c *Client) fallBack(file string, s Source, cause error) (*Release, error) {
	r, err := c.cachedRelease(file, s)
	if err != nil {
		return nil, cause
	}
	return r, nil
}

func (c *Client) cachedRelease(file string, s Source) (*Release, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	keys, err := keyring(c.Root, s)
	if err != nil {
		return nil, err
	}
	r, err := parseRelease(data, keys)
	if err != nil {
		return nil, err
	}
	// Whether it has expired does not matter without a better one.
	return r, r.check(s.Suites[0], c.Now(), false)
}

// IsNoSuite reports whether an error says that an archive has no such suite.
func IsNoSuite(err error) bool { return gone(err) }

// listFile is where the cache keeps the list at uri, named as apt names it.
func (c *Client) listFile(uri string) string {
	_, rest, ok := strings.Cut(uri, "://")
	if !ok {
		_, rest, _ = strings.Cut(uri, ":")
	}
	return filepath.Join(c.Cache, "lists", strings.ReplaceAll(strings.TrimLeft(rest, "/"), "/", "_"))
}
