package chunks

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"masthead/images"
	"masthead/node/wire"
)

// serveTLS runs handler as a head whose CA has the digest that is returned.
func serveTLS(t testing.TB, handler http.Handler) (url string, ca images.Digest, stop func()) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca and head"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(handler)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	stop = func() {
		s.CloseClientConnections()
		s.Close()
	}
	t.Cleanup(stop)
	return s.URL, images.DigestOf(der), stop
}

// blobServer is a head's blobs.
func blobServer(held Memory, token string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if token != "" && r.Header.Get("Authorization") != "Bearer "+token {
			http.Error(w, `{"detail":"this token is of another boot"}`, http.StatusUnauthorized)
			return
		}
		data, ok := held[images.Digest(strings.TrimPrefix(r.URL.Path, wire.PathBlob))]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Write(data)
	})
}

func TestHead(t *testing.T) {
	data := []byte(strings.Repeat("stored bytes ", 10000))
	c := chunkOf(data)
	var once sync.Once
	tests := []struct {
		name    string
		handler http.HandlerFunc
		want    error // nil: any, if the text is set
		text    string
	}{
		{"works", blobServer(Memory{c.Digest: data}, "secret").ServeHTTP, nil, ""},
		{"404", http.NotFound, nil, "404 Not Found"},
		{"refuses the token", blobServer(nil, "another").ServeHTTP, nil, "401 Unauthorized: this token is of another boot"},
		{"half, and says so", func(w http.ResponseWriter, _ *http.Request) { w.Write(data[:100]) }, ErrShort, ""},
		{"half, and says it is all", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "130000")
			w.Write(data[:100])
		}, ErrShort, ""},
		{"more", func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush() // chunked: no length
			w.Write(append(data, 'x'))
		}, ErrShort, ""},
		{"dies in the middle", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "130000")
			w.Write(data[:65000])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, ErrShort, ""},
		{"stalls before the answer", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, ErrStalled, ""},
		{"stalls in the middle", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "130000")
			w.Write(data[:65000])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, ErrStalled, ""},
		{"drops an idle connection", func(w http.ResponseWriter, r *http.Request) {
			once.Do(func() { w.Header().Set("Connection", "close") })
			w.Write(data)
		}, nil, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			url, ca, _ := serveTLS(t, test.handler)
			h := &head{client: wire.NewClient(url, ca, "secret"), stall: time.Minute}
			if test.want == ErrStalled {
				h.stall = 300 * time.Millisecond
			}
			defer h.Close()
			got, err := h.Fetch(t.Context(), c)
			switch {
			case test.want == nil && test.text == "":
				if err != nil || verify(c, got) != nil {
					t.Errorf("got %d bytes, %v", len(got), err)
				}
			case err == nil:
				t.Error("got no error")
			case test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text):
				t.Errorf("got %v, want %v %s", err, test.want, test.text)
			case !strings.Contains(err.Error(), url):
				t.Errorf("%q does not say where", err)
			}
		})
	}
}

// TestSlowButSteady has a head send for longer than a stall, but never nothing for as long as one.
func TestSlowButSteady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := content(130_000)
		client := &wire.Client{Base: "https://head", HTTP: &http.Client{Transport: roundTrip(func(*http.Request) *http.Response {
			return &http.Response{StatusCode: http.StatusOK, ContentLength: int64(len(data)),
				Body: io.NopCloser(&drip{data: data, piece: 13_000, every: DefaultStall - time.Millisecond})}
		})}}
		start := time.Now()
		got, err := Head(client).Fetch(t.Context(), chunkOf(data))
		if err != nil || verify(chunkOf(data), got) != nil {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
		if took := time.Since(start); took < 9*DefaultStall {
			t.Errorf("took only %v", took)
		}
	})
}

type roundTrip func(*http.Request) *http.Response

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r), nil }

// drip gives a piece of data every so often.
type drip struct {
	data  []byte
	piece int
	every time.Duration
}

func (d *drip) Read(b []byte) (int, error) {
	if len(d.data) == 0 {
		return 0, io.EOF
	}
	time.Sleep(d.every) // the bubble's clock
	n := copy(b, d.data[:min(d.piece, len(d.data))])
	d.data = d.data[n:]
	return n, nil
}

func TestHeadOnDeadPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "https://" + l.Addr().String()
	l.Close()
	_, err = Head(wire.NewClient(url, "", "")).Fetch(t.Context(), chunkOf(theChunk))
	if err == nil || !strings.Contains(err.Error(), "connection refused") || !strings.Contains(err.Error(), url) {
		t.Errorf("got %v", err)
	}
}

// TestHeadsDieAndReturn reads a whole root over TLS from two heads that die in turn, then from none.
func TestHeadsDieAndReturn(t *testing.T) {
	data := content(2 << 20)
	root, held := seal(t, data, 16<<10)
	urlA, caA, stopA := serveTLS(t, blobServer(held, ""))
	urlB, caB, stopB := serveTLS(t, blobServer(held, ""))
	var said events
	s := NewSources([]Source{Head(wire.NewClient(urlA, caA, "")), Head(wire.NewClient(urlB, caB, ""))}, said.add)
	defer s.Close()
	r := newReader(t, ReaderConfig{Root: root, Sources: s})
	half := root.Size / 2
	if got := read(t, r, 0, half/2); string(got) != string(data[:half/2]) {
		t.Error("wrong bytes from the first head")
	}
	stopA()
	if got := read(t, r, half/2, half/2); string(got) != string(data[half/2:half]) {
		t.Error("wrong bytes from the second head")
	}
	stopB()
	done := make(chan struct{})
	go func() { // waited for below
		defer close(done)
		if got := read(t, r, half, root.Size-half); string(got) != string(data[half:]) {
			t.Error("wrong bytes after the outage")
		}
	}()
	var st wire.RootStatus
	for deadline := time.Now().Add(time.Minute); st.Waiting == 0 && time.Now().Before(deadline); {
		s.Status(&st)
		time.Sleep(time.Millisecond)
	}
	select {
	case <-done:
		t.Fatal("a read went on without any head")
	default:
	}
	urlC, caC, _ := serveTLS(t, blobServer(held, "new token"))
	s.Replace([]Source{Head(wire.NewClient(urlC, caC, "new token"))})
	<-done
	if got := said.all(); len(got) == 0 || !strings.Contains(got[0], "come from "+urlB) {
		t.Errorf("told %q", got)
	}
}

func TestPackSource(t *testing.T) {
	store, err := images.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	data := content(256 << 10)
	root, held := seal(t, data, 16<<10)
	for _, stored := range held {
		if _, err := store.PutBytes(stored); err != nil {
			t.Fatal(err)
		}
	}
	boot, err := store.PutBytes([]byte("kernel"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := store.PutManifest(images.Manifest{Format: images.ManifestFormat, Name: "w", Role: images.RoleWorker,
		Arch: "amd64", Kernel: boot, Initramfs: boot, Root: root})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := images.PlanPack(store, map[string]images.Digest{"w": d})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := plan.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	bytes, err := io.ReadAll(stream)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "pack")
	if err := os.WriteFile(path, bytes, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	pack, err := images.OpenPack(f, plan.Size())
	if err != nil {
		t.Fatal(err)
	}
	for _, src := range []Source{Blobs("pack", pack), Blobs("store", store), held} {
		s := NewSources([]Source{src}, nil)
		r := newReader(t, ReaderConfig{Root: root, Sources: s})
		if got := read(t, r, 0, root.Size); string(got) != string(data) {
			t.Errorf("%s: wrong bytes", src.Name())
		}
		s.Close()
		if _, err := src.Fetch(t.Context(), chunkOf([]byte("nowhere"))); !errors.Is(err, images.ErrNotFound) {
			t.Errorf("%s: %v, want ErrNotFound", src.Name(), err)
		}
	}
}
