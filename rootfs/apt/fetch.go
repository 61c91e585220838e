package apt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"
)

// Defaults of a Client.
const (
	// DefaultMaxAge is how long the lists of an archive are used without asking again: a stable suite changes a few
	// times a year and its security pocket a few times a week.
	DefaultMaxAge = 24 * time.Hour

	stallTimeout = 30 * time.Second // a mirror that sends nothing for so long is left
	tries        = 3
	retryDelay   = time.Second / 2 // doubled each time
)

// errStalled ends a download that makes no progress.
var errStalled = fmt.Errorf("no data for %v", stallTimeout)

// statusError is an answer other than 200.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("%d %s", int(e), http.StatusText(int(e))) }

// wrongError is an answer that came whole and is not what it should be; the next one would be the same.
type wrongError string

func (e wrongError) Error() string { return string(e) }

func final(err error) bool {
	var wrong wrongError
	return gone(err) || errors.As(err, &wrong)
}

// gone reports whether an error says that the archive was reached and does not have the file.
func gone(err error) bool {
	var status statusError
	return errors.As(err, &status) && (status == http.StatusNotFound || status == http.StatusGone)
}

// newHTTPClient makes a client that uses apt's proxies, or those of the environment where apt has none.
func newHTTPClient(s Settings) *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = stallTimeout
	t.Proxy = func(r *http.Request) (*url.URL, error) {
		proxy := s.HTTPProxy
		if r.URL.Scheme == "https" && s.HTTPSProxy != "" {
			proxy = s.HTTPSProxy
		}
		switch {
		case proxy == "":
			return http.ProxyFromEnvironment(r)
		case strings.EqualFold(proxy, "DIRECT"):
			return nil, nil
		}
		return url.Parse(proxy)
	}
	return &http.Client{Transport: t}
}

// download writes what uri gives to file, atomically and only if it has the wanted SHA-256 and size. An empty want takes
// anything up to limit bytes. It tries a few times when the network or the server fails.
func (c *Client) download(ctx context.Context, uri, file string, want listed, limit int64) error {
	var err error
	for try := range tries {
		if try > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(retryDelay << (try - 1)):
			}
		}
		if err = c.downloadOnce(ctx, uri, file, want, limit); err == nil || final(err) || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("download %s: %w", uri, err)
	}
	return nil
}

func (c *Client) downloadOnce(ctx context.Context, uri, file string, want listed, limit int64) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(stallTimeout, func() { cancel(errStalled) })
	defer watch.Stop()

	body, total, err := c.open(ctx, uri)
	if err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	defer body.Close()
	if want.sha256 != "" {
		total, limit = want.size, want.size
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	out, err := renameio.NewPendingFile(file, renameio.WithPermissions(0o644))
	if err != nil {
		return err
	}
	defer out.Cleanup()
	sum := sha256.New()
	var done int64
	count := writerFunc(func(p []byte) {
		watch.Reset(stallTimeout)
		done += int64(len(p))
		if c.Progress != nil {
			c.Progress(uri, done, total)
		}
	})
	n, err := io.Copy(io.MultiWriter(out, sum, count), io.LimitReader(body, limit+1))
	if err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	if n > limit {
		return wrongError(fmt.Sprintf("more than %d bytes", limit))
	}
	if got := hex.EncodeToString(sum.Sum(nil)); want.sha256 != "" && got != want.sha256 {
		return wrongError(fmt.Sprintf("its SHA-256 is %s, want %s", got, want.sha256))
	}
	return out.CloseAtomicallyReplace()
}

// open starts reading a URI. file: names a mirror on a mounted disk.
func (c *Client) open(ctx context.Context, uri string) (io.ReadCloser, int64, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return nil, 0, err
	}
	switch u.Scheme {
	case "file", "copy":
		f, err := os.Open(u.Path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, 0, statusError(http.StatusNotFound)
		}
		if err != nil {
			return nil, 0, err
		}
		st, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, 0, err
		}
		return f, st.Size(), nil
	case "http", "https":
	default:
		return nil, 0, fmt.Errorf("archives by %s: are not read", u.Scheme)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil {
		return nil, 0, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, 0, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, 0, statusError(resp.StatusCode)
	}
	return resp.Body, resp.ContentLength, nil
}

// verified reports whether file is there and has the wanted SHA-256.
func verified(file string, want listed) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, f)
	return err == nil && n == want.size && hex.EncodeToString(sum.Sum(nil)) == want.sha256
}

// writerFunc sees what is written and keeps none of it.
type writerFunc func(p []byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}
