package vmware

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"sync"
	"testing"
)

// front stands before the simulator: it notes the calls, and answer can answer them in its place.
type front struct {
	answer func(w http.ResponseWriter, r *http.Request, method string, body string) bool
	proxy  *httputil.ReverseProxy

	mu    sync.Mutex
	calls []string // methods, in order
	with  []string // the requests
}

var called = regexp.MustCompile(`<Body><(\w+)`)

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	method := "?"
	if m := called.FindSubmatch(body); err == nil && m != nil {
		method = string(m[1])
	}
	f.mu.Lock()
	f.calls, f.with = append(f.calls, method), append(f.with, string(body))
	f.mu.Unlock()
	r.Body = io.NopCloser(bytes.NewReader(body))
	if f.answer == nil || !f.answer(w, r, method, string(body)) {
		f.proxy.ServeHTTP(w, r)
	}
}

// seen are the calls since it was last asked.
func (f *front) seen() (calls []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls, f.calls = f.calls, nil
	return calls
}

// before puts a front before the server that p names; the parameters name the front.
func before(t *testing.T, p map[string]string) (*front, map[string]string) {
	t.Helper()
	to := &url.URL{Scheme: "https", Host: p["ip"] + ":" + p["ipport"]}
	f := &front{proxy: &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(to) },
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true},
		ErrorLog:  log.New(io.Discard, "", 0),
	}}
	s := httptest.NewUnstartedServer(f)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(s.Certificate().Raw)
	p = maps.Clone(p)
	p["ip"], p["ipport"], p["ssl_fingerprint"] = u.Hostname(), u.Port(), hex.EncodeToString(sum[:])
	return f, p
}
