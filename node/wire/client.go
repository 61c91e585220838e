package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"masthead/images"
)

// Limits of a Client.
const (
	MaxJSON = 64 << 20 // bytes of an answer; a status of 5,000 nodes with inventories needs about 10 MiB

	// CallTimeout bounds one JSON call from the dial to the last byte. A head answers within milliseconds; a boot
	// storm may hold it up for seconds.
	CallTimeout = 30 * time.Second

	dialTimeout   = 5 * time.Second
	headerTimeout = 15 * time.Second // from the request to the answer's header
	idleTimeout   = 30 * time.Second // a thousand idle workers must not hold connections on a head
	idlePerHost   = 8                // as many as a root device fetches at once
)

// Client speaks to one head, over TLS or over its socket on the same machine. It may be used by several goroutines at
// once. Every call blocks until the answer is complete, ctx ends or a limit above is reached; an answer that is not a
// success becomes a *ProblemError.
type Client struct {
	Base  string // https URL without a path, or http://masthead for a socket
	HTTP  *http.Client
	Token string // bearer; empty: none is sent
}

// NewClient makes a Client of the head at base, an https URL, which must hold the CA.
func NewClient(base string, ca images.Digest, token string) *Client {
	t := newTransport()
	t.TLSClientConfig = PinnedTLS(ca, nil)
	return &Client{Base: base, HTTP: &http.Client{Transport: t}, Token: token}
}

// NewUnixClient makes a Client of the head behind a socket on this machine. The socket's permissions are the
// credentials.
func NewUnixClient(socket string) *Client {
	t := newTransport()
	t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	return &Client{Base: "http://masthead", HTTP: &http.Client{Transport: t}}
}

// newTransport stays with HTTP/1.1 (a TLSClientConfig without ForceAttemptHTTP2 does that): with HTTP/2 all chunks
// would share one TCP connection, and one lost packet would hold up every read of the machine. There is no proxy: a
// node that boots has no environment to name one.
func newTransport() *http.Transport {
	return &http.Transport{
		DialContext:           (&net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout:   dialTimeout,
		ResponseHeaderTimeout: headerTimeout,
		IdleConnTimeout:       idleTimeout,
		MaxIdleConnsPerHost:   idlePerHost,
		DisableCompression:    true, // chunks are compressed, JSON is small
	}
}

// Close drops idle connections. Calls under way go on.
func (c *Client) Close() { c.HTTP.CloseIdleConnections() }

// Hello asks for what this machine shall run.
func (c *Client) Hello(ctx context.Context, h Hello) (Spec, error) {
	return ask[Spec](ctx, c, http.MethodPost, PathHello, h)
}

// Report tells the head how a boot goes.
func (c *Client) Report(ctx context.Context, r Report) error {
	return c.call(ctx, http.MethodPost, PathReport, r, nil)
}

// Status is the cluster on one page.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return ask[Status](ctx, c, http.MethodGet, PathStatus, nil)
}

// Nodes lists the nodes of a node set; all of them if set is empty.
func (c *Client) Nodes(ctx context.Context, set string) ([]Node, error) {
	path := PathNodes
	if set != "" {
		path += "?" + url.Values{"set": {set}}.Encode()
	}
	return ask[[]Node](ctx, c, http.MethodGet, path, nil)
}

// Node is the node of that name.
func (c *Client) Node(ctx context.Context, name string) (Node, error) {
	return ask[Node](ctx, c, http.MethodGet, nodePath(name), nil)
}

// AddNode adds a node, or says what adding it would do (DryRun).
func (c *Client) AddNode(ctx context.Context, change NodeChange) (Changed, error) {
	return ask[Changed](ctx, c, http.MethodPost, PathNodes, change)
}

// ChangeNode changes a node, or says what would change (DryRun).
func (c *Client) ChangeNode(ctx context.Context, name string, change NodeChange) (Changed, error) {
	return ask[Changed](ctx, c, http.MethodPatch, nodePath(name), change)
}

// RemoveNode forgets a node.
func (c *Client) RemoveNode(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, nodePath(name), nil, nil)
}

// Why tells the story of a node's last boot.
func (c *Client) Why(ctx context.Context, name string) (Why, error) {
	return ask[Why](ctx, c, http.MethodGet, nodePath(name)+"/why", nil)
}

// Settings are what holds for all nodes.
func (c *Client) Settings(ctx context.Context) (Settings, error) {
	return ask[Settings](ctx, c, http.MethodGet, PathSettings, nil)
}

// ChangeSettings changes the settings, or says what would change (DryRun).
func (c *Client) ChangeSettings(ctx context.Context, change SettingsChange) (SettingsChanged, error) {
	return ask[SettingsChanged](ctx, c, http.MethodPatch, PathSettings, change)
}

// Images lists the images of the head's store.
func (c *Client) Images(ctx context.Context) ([]Image, error) {
	return ask[[]Image](ctx, c, http.MethodGet, PathImages, nil)
}

// Manifest fetches the manifest of that digest, verified, with its bytes as they were sealed.
func (c *Client) Manifest(ctx context.Context, d images.Digest) (images.Manifest, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 4*CallTimeout)
	defer cancel()
	body, size, err := c.Blob(ctx, d)
	if err != nil {
		return images.Manifest{}, nil, err
	}
	defer body.Close()
	if size > images.MaxManifestSize {
		return images.Manifest{}, nil, fmt.Errorf("manifest %s from %s: %d bytes, at most %d", d.Short(), c.Base, size, images.MaxManifestSize)
	}
	data, err := io.ReadAll(io.LimitReader(body, images.MaxManifestSize+1))
	if err != nil {
		return images.Manifest{}, nil, fmt.Errorf("manifest %s from %s: %w", d.Short(), c.Base, err)
	}
	m, err := images.VerifyManifest(data, d)
	if err != nil {
		return images.Manifest{}, nil, fmt.Errorf("from %s: %w", c.Base, err)
	}
	return m, data, nil
}

// Blob opens a stored blob: its bytes, which nobody has verified yet, and their number, -1 when the head does not say.
// The caller bounds what it reads, and closes. Only ctx bounds the time, as long as bytes come.
func (c *Client) Blob(ctx context.Context, d images.Digest) (io.ReadCloser, int64, error) {
	resp, err := c.do(ctx, http.MethodGet, PathBlob+string(d), nil)
	if err != nil {
		return nil, 0, err
	}
	return resp.Body, resp.ContentLength, nil
}

func nodePath(name string) string { return PathNode + url.PathEscape(name) }

// ask is call for an answer of type T.
func ask[T any](ctx context.Context, c *Client, method, path string, in any) (T, error) {
	var out T
	err := c.call(ctx, method, path, in, &out)
	return out, err
}

// call sends in as JSON, if there is any, and reads the answer into out, if one is wanted.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("%s %s: encode: %w", method, path, err)
		}
		body = bytes.NewReader(data)
	}
	resp, err := c.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, MaxJSON+1))
	if err != nil {
		return fmt.Errorf("%s %s: read the answer: %w", method, c.Base+path, err)
	}
	if len(data) > MaxJSON {
		return fmt.Errorf("%s %s: the answer is larger than %d bytes", method, c.Base+path, MaxJSON)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("%s %s: the answer is not what was expected: %w", method, c.Base+path, err)
	}
	return nil
}

// do sends a request and returns the answer if it is a success.
func (c *Client) do(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.Base+path, body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, c.Base+path, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return nil, err // a *url.Error, which holds the method, the URL and the errno
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		defer resp.Body.Close()
		return nil, readProblem(resp, method, c.Base+path)
	}
	return resp, nil
}
