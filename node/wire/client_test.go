package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"masthead/images"
)

// recorder answers every request with the same status and body, and remembers what it was asked.
type recorder struct {
	status int
	body   string

	method, path, auth, sent string
}

func (h *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	data, _ := io.ReadAll(r.Body)
	h.method, h.path, h.auth, h.sent = r.Method, r.URL.EscapedPath(), r.Header.Get("Authorization"), string(data)
	w.WriteHeader(h.status)
	io.WriteString(w, h.body)
}

func TestCalls(t *testing.T) {
	ours := newAuthority(t, "ours", time.Now().Add(-time.Hour))
	h := &recorder{}
	s := serveTLS(t, ours, h)
	c := NewClient(s.URL, ours.digest(), "secret")
	ctx := t.Context()
	name := "n02"

	tests := []struct {
		name         string
		status       int
		body         string
		call         func() (any, error)
		method, path string
		sent         string
		want         any
	}{
		{"hello", 200, `{"verdict":"wait","retry_after":2.5}`,
			func() (any, error) { return c.Hello(ctx, Hello{Boot: "b", MAC: "m"}) },
			"POST", "/api/v1/hello", `"boot":"b"`, Spec{Verdict: VerdictWait, RetryAfter: 2.5}},
		{"report", 204, ``,
			func() (any, error) { return nil, c.Report(ctx, Report{Boot: "b", Note: "up"}) },
			"POST", "/api/v1/report", `"note":"up"`, nil},
		{"status", 200, `{"name":"head1"}`, func() (any, error) { return c.Status(ctx) },
			"GET", "/api/v1/status", "", Status{Name: "head1"}},
		{"nodes", 200, `[{"name":"n01"}]`, func() (any, error) { return c.Nodes(ctx, "") },
			"GET", "/api/v1/nodes", "", []Node{{Name: "n01"}}},
		{"node", 200, `{"name":"n01"}`, func() (any, error) { return c.Node(ctx, "n01") },
			"GET", "/api/v1/nodes/n01", "", Node{Name: "n01"}},
		{"a name with a slash stays one element", 200, `{}`, func() (any, error) { return c.Node(ctx, "../x/why") },
			"GET", "/api/v1/nodes/..%2Fx%2Fwhy", "", Node{}},
		{"add", 201, `{"applied":true}`, func() (any, error) { return c.AddNode(ctx, NodeChange{Name: &name}) },
			"POST", "/api/v1/nodes", `"name":"n02"`, Changed{Applied: true}},
		{"change", 200, `{"applied":false}`,
			func() (any, error) { return c.ChangeNode(ctx, "n01", NodeChange{DryRun: true}) },
			"PATCH", "/api/v1/nodes/n01", `"dry_run":true`, Changed{}},
		{"remove", 204, ``, func() (any, error) { return nil, c.RemoveNode(ctx, "n01") },
			"DELETE", "/api/v1/nodes/n01", "", nil},
		{"why", 200, `{"verdict":"all well"}`, func() (any, error) { return c.Why(ctx, "n01") },
			"GET", "/api/v1/nodes/n01/why", "", Why{Verdict: "all well"}},
		{"images", 200, `[{"tag":"worker"}]`, func() (any, error) { return c.Images(ctx) },
			"GET", "/api/v1/images", "", []Image{{Tag: "worker"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h.status, h.body = test.status, test.body
			got, err := test.call()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			if h.method != test.method || h.path != test.path || h.auth != "Bearer secret" {
				t.Errorf("asked %s %s with %q, want %s %s", h.method, h.path, h.auth, test.method, test.path)
			}
			if !strings.Contains(h.sent, test.sent) {
				t.Errorf("sent %q, want %q in it", h.sent, test.sent)
			}
		})
	}
}

func TestProblem(t *testing.T) {
	ours := newAuthority(t, "ours", time.Now().Add(-time.Hour))
	h := &recorder{}
	s := serveTLS(t, ours, h)
	c := NewClient(s.URL, ours.digest(), "")

	tests := []struct {
		name      string
		status    int
		body      string
		want, try string
	}{
		{"problem", 404, `{"status":404,"detail":"no node n09","try":"masthead node list"}`,
			"GET %s/api/v1/nodes/n09: 404 Not Found: no node n09", "masthead node list"},
		{"the status line wins over the body", 503, `{"status":200,"detail":"starting"}`,
			"GET %s/api/v1/nodes/n09: 503 Service Unavailable: starting", ""},
		{"a page of another server", 502, "<html>Bad\nGateway", "GET %s/api/v1/nodes/n09: 502 Bad Gateway: <html>Bad", ""},
		{"nothing", 500, "", "GET %s/api/v1/nodes/n09: 500 Internal Server Error", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h.status, h.body = test.status, test.body
			_, err := c.Node(t.Context(), "n09")
			var p *ProblemError
			if !errors.As(err, &p) {
				t.Fatalf("got %v, want a *ProblemError", err)
			}
			if want := fmt.Sprintf(test.want, s.URL); p.Error() != want {
				t.Errorf("got  %s\nwant %s", p.Error(), want)
			}
			if p.Try() != test.try || p.Status != test.status {
				t.Errorf("try %q, status %d, want %q, %d", p.Try(), p.Status, test.try, test.status)
			}
		})
	}
}

func TestManifestAndBlob(t *testing.T) {
	chunk := images.DigestOf([]byte("c"))
	data, d, err := images.Manifest{
		Format: images.ManifestFormat, Name: "worker", Role: images.RoleWorker, Arch: "amd64",
		Kernel: images.Blob{Digest: chunk, Size: 1}, Initramfs: images.Blob{Digest: chunk, Size: 1},
		Root: images.Root{Size: 4096, ChunkSize: 4096, Chunks: []images.Chunk{{Digest: chunk, Size: 1}}},
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	ours := newAuthority(t, "ours", time.Now().Add(-time.Hour))
	h := &recorder{status: 200, body: string(data)}
	c := NewClient(serveTLS(t, ours, h).URL, ours.digest(), "")

	m, got, err := c.Manifest(t.Context(), d)
	if err != nil || m.Name != "worker" || string(got) != string(data) {
		t.Errorf("got %q, %v, want the manifest of worker", m.Name, err)
	}
	if want := PathBlob + string(d); h.path != want {
		t.Errorf("asked %s, want %s", h.path, want)
	}
	h.body = strings.Replace(string(data), "worker", "other1", 1)
	if _, _, err := c.Manifest(t.Context(), d); err == nil {
		t.Error("a manifest with another digest was accepted")
	}

	h.body = "stored"
	body, size, err := c.Blob(t.Context(), chunk)
	if err != nil || size != 6 {
		t.Fatalf("blob: %d, %v, want 6 bytes", size, err)
	}
	defer body.Close()
	if b, err := io.ReadAll(body); string(b) != "stored" || err != nil {
		t.Errorf("blob: %q, %v", b, err)
	}
}

func TestUnixClient(t *testing.T) {
	path := filepath.Join(t.TempDir(), "api.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: &recorder{status: 200, body: `{"name":"head1"}`}}
	go s.Serve(l) // ends with Close
	t.Cleanup(func() { s.Close() })
	got, err := NewUnixClient(path).Status(t.Context())
	if err != nil || got.Name != "head1" {
		t.Errorf("got %q, %v, want head1", got.Name, err)
	}
}

// TestCallTimeout calls a head that never answers.
func TestCallTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Client{Base: "http://masthead", HTTP: &http.Client{Transport: mute{}}}
		start := time.Now()
		if _, err := c.Status(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want a deadline", err)
		}
		if took := time.Since(start); took != CallTimeout {
			t.Errorf("gave up after %v, want %v", took, CallTimeout)
		}
	})
}

type mute struct{}

func (mute) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestAnswerTooLarge(t *testing.T) {
	c := &Client{Base: "http://masthead", HTTP: &http.Client{Transport: endless{}}}
	if _, err := c.Status(t.Context()); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("got %v, want a refusal", err)
	}
}

type endless struct{}

func (endless) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Body: io.NopCloser(blanks{})}, nil
}

type blanks struct{}

func (blanks) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func FuzzSpec(f *testing.F) {
	f.Add([]byte(`{"verdict":"boot","heads":[{"name":"h","url":"https://10.0.0.1"}],"hosts":[{"name":"a","address":"10.0.0.2"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var s Spec
		if json.Unmarshal(data, &s) != nil {
			return
		}
		again, err := json.Marshal(s)
		if err != nil {
			t.Skip() // a year that JSON cannot write
		}
		var s2 Spec
		if err := json.Unmarshal(again, &s2); err != nil {
			t.Fatalf("%s: %v", again, err)
		}
	})
}
