package monitor

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"time"
)

// bodyMost bounds what is read of a page.
const bodyMost = 1 << 20

func (h *HTTP) probe(ctx context.Context, host string) Result {
	what := "http " + h.URL
	u, err := url.Parse(h.URL)
	if err != nil {
		return unknown("%s: %v", what, err)
	}
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: h.Insecure}}
	if host != "" {
		// The page of the URL's host, from this one: what curl calls --connect-to.
		transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			var d net.Dialer
			return d.DialContext(ctx, network, net.JoinHostPort(host, port))
		}
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return unknown("%s: %v", what, err)
	}
	req.Header.Set("User-Agent", "masthead")
	if h.Agent != "" {
		req.Header.Set("User-Agent", h.Agent)
	}
	began := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return failure(ctx, what, err)
	}
	defer resp.Body.Close()
	good := resp.StatusCode >= 200 && resp.StatusCode < 400
	if len(h.Status) > 0 {
		good = slices.Contains(h.Status, resp.StatusCode)
	}
	if !good {
		return down("%s: status %s", what, resp.Status)
	}
	if h.Match != "" {
		want, err := regexp.Compile(h.Match)
		if err != nil {
			return unknown("%s: %v", what, err)
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, bodyMost))
		if !want.Match(body) {
			if err != nil {
				return failure(ctx, what+": reading the page", err)
			}
			return down("%s: the page does not contain %q", what, h.Match)
		}
	}
	return up("%s: %s in %s", what, resp.Status, time.Since(began).Round(10*time.Microsecond))
}
