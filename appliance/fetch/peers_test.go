package fetch

import (
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"masthead/images"
)

// here is where a Fetcher under test puts blobs.
type here struct {
	mu    sync.Mutex
	blobs map[images.Digest][]byte
	puts  int
	err   error
}

func (h *here) have(b images.Blob) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.blobs[b.Digest]
	return ok
}

func (h *here) put(r io.Reader, d images.Digest) error {
	data, err := io.ReadAll(r)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err = errors.Join(err, h.err); err != nil {
		return err
	}
	if images.DigestOf(data) != d {
		return errors.New("wrong bytes were put")
	}
	h.blobs[d] = data
	h.puts++
	return nil
}

// peer is a head that answers as its handler says.
func peer(t *testing.T, name string, handle http.HandlerFunc) Peer {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+path+"{digest}", handle)
	srv := httptest.NewTLSServer(mux)
	srv.Config.ErrorLog = nil
	t.Cleanup(srv.Close)
	return Peer{Name: name, URL: srv.URL, HTTP: srv.Client()}
}

// holder is a peer with these blobs in a store, which counts what it is asked.
func holder(t *testing.T, name string, asked *atomic.Int64, blobs ...[]byte) Peer {
	t.Helper()
	s, err := images.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range blobs {
		if _, err := s.PutBytes(data); err != nil {
			t.Fatal(err)
		}
	}
	h := Handler(s)
	return peer(t, name, func(w http.ResponseWriter, r *http.Request) {
		if asked != nil {
			asked.Add(1)
		}
		h.ServeHTTP(w, r)
	})
}

func dead(t *testing.T, name string) Peer {
	srv := httptest.NewTLSServer(http.NotFoundHandler())
	srv.Close()
	return Peer{Name: name, URL: srv.URL, HTTP: srv.Client()}
}

func fetcher(t *testing.T, h *here, events *[]string, peers ...Peer) *Fetcher {
	t.Helper()
	var mu sync.Mutex
	f, err := New(Config{
		Have: h.have, Put: h.put, Peers: func() []Peer { return peers }, Path: path, Spool: t.TempDir(),
		Event: func(text string) {
			mu.Lock()
			defer mu.Unlock()
			if events != nil {
				*events = append(*events, text)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

func empty() *here { return &here{blobs: map[images.Digest][]byte{}} }

func noise(n int) []byte {
	data := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1, byte(n)})
	r.Read(data)
	return data
}

func blobOf(data []byte) images.Blob {
	return images.Blob{Digest: images.DigestOf(data), Size: int64(len(data))}
}
