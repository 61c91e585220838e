package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"masthead/images"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const path = "/peer/v1/blob/"

// A peer with every kind of fault stands before one that is good; whichever is asked first, the blob comes.
func TestFaultyPeers(t *testing.T) {
	data := noise(3 << 20)
	part := func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			w.Write(data[:n])
		}
	}
	wrong := bytes.Clone(data)
	wrong[len(wrong)-1] ^= 1
	faults := map[string]func(t *testing.T) Peer{
		"dead":      func(t *testing.T) Peer { return dead(t, "bad") },
		"truncated": func(t *testing.T) Peer { return peer(t, "bad", part(1<<20)) },
		"short": func(t *testing.T) Peer {
			return peer(t, "bad", func(w http.ResponseWriter, _ *http.Request) { w.Write(data[:1000]) })
		},
		"chunked": func(t *testing.T) Peer {
			return peer(t, "bad", func(w http.ResponseWriter, _ *http.Request) {
				w.(http.Flusher).Flush() // without a length
				w.Write(data)
			})
		},
		"too long": func(t *testing.T) Peer {
			return peer(t, "bad", func(w http.ResponseWriter, _ *http.Request) { w.Write(append(bytes.Clone(data), 0)) })
		},
		"wrong bytes": func(t *testing.T) Peer {
			return peer(t, "bad", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", fmt.Sprint(len(wrong)))
				w.Write(wrong)
			})
		},
		"error": func(t *testing.T) Peer {
			return peer(t, "bad", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) })
		},
		"absent": func(t *testing.T) Peer { return holder(t, "bad", nil) },
		"stalled": func(t *testing.T) Peer {
			return peer(t, "bad", func(w http.ResponseWriter, r *http.Request) {
				part(100_000)(w, r)
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			})
		},
		"trickling": func(t *testing.T) Peer {
			return peer(t, "bad", func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Length", fmt.Sprint(len(data)))
				for i := 0; i < 1000 && r.Context().Err() == nil; i++ {
					w.Write(data[i : i+1])
					w.(http.Flusher).Flush()
					time.Sleep(5 * time.Millisecond)
				}
			})
		},
		"silent": func(t *testing.T) Peer {
			return peer(t, "bad", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad, good := fault(t), holder(t, "good", nil, data)
			for range 4 { // in random order
				h := empty()
				f := fetcher(t, h, nil, bad, good)
				f.conf.Stall = 500 * time.Millisecond
				body, size, err := f.Open(t.Context(), blobOf(data))
				if err != nil || size != int64(len(data)) {
					t.Fatalf("open: %d bytes, %v", size, err)
				}
				got, err := io.ReadAll(body)
				body.Close()
				// A reader that was given wrong bytes must be told; all others must get the blob.
				if err != nil && !(name == "wrong bytes" && errors.Is(err, errChanged)) {
					t.Errorf("read: %v", err)
				}
				if err == nil && !bytes.Equal(got, data) {
					t.Errorf("got %d bytes that are not the blob", len(got))
				}
				if err := f.Get(t.Context(), blobOf(data)); err != nil || !bytes.Equal(h.blobs[images.DigestOf(data)], data) {
					t.Errorf("stored %d bytes, %v", len(h.blobs[images.DigestOf(data)]), err)
				}
			}
			// Alone it gives nothing, and nothing is stored.
			h := empty()
			f := fetcher(t, h, nil, bad)
			f.conf.Stall = 500 * time.Millisecond
			err := f.Get(t.Context(), blobOf(data))
			if !errors.Is(err, images.ErrNotFound) || !strings.Contains(err.Error(), string(images.DigestOf(data))) || h.puts != 0 {
				t.Errorf("alone: %v, %d stored; want an error that names the digest", err, h.puts)
			}
		})
	}
}

// Who reads a blob that turns out to be wrong never gets all of it.
func TestWrongBytesAreCutOff(t *testing.T) {
	data := noise(1 << 20)
	wrong := bytes.Clone(data)
	wrong[0] ^= 1
	var events []string
	bad := peer(t, "bad", func(w http.ResponseWriter, _ *http.Request) { w.Write(wrong) })
	badToo := peer(t, "bad", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(wrong)))
		w.Write(wrong)
	})
	f := fetcher(t, empty(), &events, bad, badToo)
	body, _, err := f.Open(t.Context(), blobOf(data))
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	got, err := io.ReadAll(body)
	if err == nil || len(got) >= len(data) {
		t.Errorf("%d bytes of %d, error %v", len(got), len(data), err)
	}
	if len(events) != 1 || !strings.Contains(events[0], "bad") || !strings.Contains(events[0], blobOf(data).Digest.Short()) {
		t.Errorf("events %q, want one that names the head and the blob", events)
	}
}

// Many who ask for one blob while it comes cost one transfer, and a slow reader holds nobody up.
func TestSingleFlight(t *testing.T) {
	const opens = 20
	for _, size := range []int{0, 1, 4096, 1 << 20, inMemory + 1} {
		data := noise(size)
		blob := blobOf(data)
		var asked atomic.Int64
		joined := make(chan struct{})
		f := fetcher(t, empty(), nil, peer(t, "good", func(w http.ResponseWriter, _ *http.Request) {
			asked.Add(1)
			<-joined // it comes when all have asked
			w.Header().Set("Content-Length", fmt.Sprint(size))
			w.Write(data)
		}))
		var slow io.ReadCloser
		var all sync.WaitGroup
		all.Go(func() {
			var err error
			if slow, _, err = f.Open(t.Context(), blob); err != nil {
				t.Error(err)
			}
		})
		for range opens {
			all.Go(func() {
				body, _, err := f.Open(t.Context(), images.Blob{Digest: blob.Digest})
				if err != nil {
					t.Error(err)
					return
				}
				defer body.Close()
				if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
			})
		}
		all.Go(func() {
			if err := f.Get(t.Context(), blob); err != nil {
				t.Error(err)
			}
		})
		everybody := 1 + 1 + opens + 1 // the flight itself, the slow reader, those who open, the one who gets
		for until := time.Now().Add(10 * time.Second); users(f, blob) < everybody; time.Sleep(time.Millisecond) {
			if time.Now().After(until) {
				t.Errorf("%d bytes: %d look at one transfer, want %d", size, users(f, blob), everybody)
				break
			}
		}
		close(joined)
		all.Wait()
		if t.Failed() {
			return
		}
		if got, err := io.ReadAll(slow); err != nil || !bytes.Equal(got, data) {
			t.Errorf("the slow reader: %d bytes, %v", len(got), err)
		}
		slow.Close()
		if _, err := slow.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		if n := asked.Load(); n != 1 {
			t.Errorf("%d bytes: %d transfers for %d who asked", size, n, opens+2)
		}
	}
}

// users is how many look at the transfer of b.
func users(f *Fetcher, b images.Blob) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl, ok := f.flights[b.Digest]; ok {
		return fl.users
	}
	return 0
}

func TestFullDisk(t *testing.T) {
	data := noise(100_000)
	h := empty()
	h.err = fmt.Errorf("write: %w", unix.ENOSPC)
	var events []string
	f := fetcher(t, h, &events, holder(t, "good", nil, data))
	body, _, err := f.Open(t.Context(), blobOf(data))
	if err != nil {
		t.Fatal(err)
	}
	// A machine that boots gets its chunk nevertheless.
	if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	body.Close()
	if err := f.Get(t.Context(), blobOf(data)); !errors.Is(err, ErrFull) {
		t.Errorf("get: %v", err)
	}
	if len(events) != 1 || !strings.Contains(events[0], "disk is full") {
		t.Errorf("events: %q", events)
	}
}

// A dead head costs its timeout once, and not for each of a thousand chunks.
func TestDeadPeerIsAskedLast(t *testing.T) {
	var tried atomic.Int64
	bad := peer(t, "bad", func(w http.ResponseWriter, _ *http.Request) {
		tried.Add(1)
		http.Error(w, "no", http.StatusServiceUnavailable)
	})
	var blobs [][]byte
	for i := range 200 {
		blobs = append(blobs, noise(100+i))
	}
	f := fetcher(t, empty(), nil, bad, holder(t, "good", nil, blobs...))
	for _, data := range blobs {
		if err := f.Get(t.Context(), blobOf(data)); err != nil {
			t.Fatal(err)
		}
	}
	if tried.Load() != 1 {
		t.Errorf("the head that fails was asked %d times", tried.Load())
	}
}

// Good heads share the work.
func TestRandomOrder(t *testing.T) {
	var a, b atomic.Int64
	var blobs [][]byte
	for i := range 100 {
		blobs = append(blobs, noise(100+i))
	}
	f := fetcher(t, empty(), nil, holder(t, "a", &a, blobs...), holder(t, "b", &b, blobs...))
	for _, data := range blobs {
		if err := f.Get(t.Context(), blobOf(data)); err != nil {
			t.Fatal(err)
		}
	}
	if a.Load() < 20 || b.Load() < 20 || a.Load()+b.Load() != 100 {
		t.Errorf("asked %d and %d times", a.Load(), b.Load())
	}
}

func TestAbsentIsRememberedForAMoment(t *testing.T) {
	var asked atomic.Int64
	now := time.Unix(0, 0)
	f := fetcher(t, empty(), nil, holder(t, "a", &asked))
	f.conf.Now = func() time.Time { return now }
	b := blobOf(noise(10))
	for range 10 {
		if err := f.Get(t.Context(), b); !errors.Is(err, images.ErrNotFound) {
			t.Fatal(err)
		}
	}
	if asked.Load() != 1 {
		t.Errorf("asked %d times within a moment", asked.Load())
	}
	now = now.Add(again)
	f.Get(t.Context(), b)
	if asked.Load() != 2 {
		t.Errorf("asked %d times after it", asked.Load())
	}
}

// A Close in the middle leaves nothing behind, and readers are told.
func TestClose(t *testing.T) {
	data := noise(1 << 20)
	began := make(chan struct{})
	f := fetcher(t, empty(), nil, peer(t, "a", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		w.Write(data[:200_000])
		w.(http.Flusher).Flush()
		close(began)
		<-r.Context().Done()
	}))
	body, _, err := f.Open(t.Context(), blobOf(data))
	if err != nil {
		t.Fatal(err)
	}
	<-began
	f.Close()
	if _, err := io.ReadAll(body); !errors.Is(err, context.Canceled) {
		t.Errorf("read: %v", err)
	}
	body.Close()
	if err := f.Get(t.Context(), blobOf(data)); err == nil {
		t.Error("a closed Fetcher fetches")
	}
}

// Whatever attempts come before the right one, a reader gets the blob or an error, never something else.
func TestSpoolProperty(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(t, "data")
		s, err := newSpool(dir, int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		reader := &follower{spool: s, leave: func() {}}
		defer reader.Close()
		var got []byte
		var failed error
		read := func() { // what is there now, without waiting
			for failed == nil {
				s.mu.Lock()
				ready := s.broken != nil || s.err != nil || s.whole || reader.at < min(s.at, s.size-1)
				s.mu.Unlock()
				if !ready {
					return
				}
				p := make([]byte, rapid.IntRange(1, 64).Draw(t, "read"))
				n, err := reader.Read(p)
				got, failed = append(got, p[:n]...), err
			}
		}
		for range rapid.IntRange(0, 4).Draw(t, "attempts") {
			s.restart()
			wrong := bytes.Clone(data)
			if rapid.Bool().Draw(t, "flip") {
				wrong[rapid.IntRange(0, len(wrong)-1).Draw(t, "at")] ^= 1
			}
			for rest := wrong[:rapid.IntRange(0, len(wrong)).Draw(t, "part")]; len(rest) > 0; {
				n := rapid.IntRange(1, len(rest)).Draw(t, "write")
				if _, err := s.Write(rest[:n]); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
				if rapid.Bool().Draw(t, "reads") {
					read()
				}
			}
		}
		if len(got) == len(data) {
			t.Fatal("the whole was given before it was verified")
		}
		s.restart()
		s.Write(data)
		s.finish(nil)
		read()
		if failed == io.EOF && !bytes.Equal(got, data) {
			t.Fatalf("got % x, want % x", got, data)
		}
		if failed == nil {
			t.Fatal("the reader never ends")
		}
		if whole, _ := io.ReadAll(s.content()); !bytes.Equal(whole, data) {
			t.Fatal("what is stored is not the blob")
		}
		s.close()
	})
}

// BenchmarkImage fetches chunks of a root's usual size from one head over TLS into a store, as many at once as a head
// does.
func BenchmarkImage(b *testing.B) {
	const chunk, count = 256 << 10, 256
	from, err := images.OpenStore(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	var blobs []images.Blob
	for i := range count {
		data := make([]byte, chunk)
		r := rand.NewChaCha8([32]byte{2, byte(i), byte(i >> 8)})
		r.Read(data)
		blob, err := from.PutBytes(data)
		if err != nil {
			b.Fatal(err)
		}
		blobs = append(blobs, blob)
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+path+"{digest}", Handler(from))
	srv := httptest.NewTLSServer(mux)
	defer srv.Close()
	client := srv.Client()
	client.Transport.(*http.Transport).MaxIdleConnsPerHost = 8
	b.SetBytes(chunk * count)
	for b.Loop() {
		to, err := images.OpenStore(b.TempDir())
		if err != nil {
			b.Fatal(err)
		}
		f, err := New(Config{
			Have: to.Has, Path: path, Peers: func() []Peer { return []Peer{{Name: "h", URL: srv.URL, HTTP: client}} },
			Put: func(r io.Reader, d images.Digest) error { _, err := to.PutVerified(r, d); return err },
		})
		if err != nil {
			b.Fatal(err)
		}
		var all sync.WaitGroup
		slots := make(chan struct{}, 8)
		for _, blob := range blobs {
			slots <- struct{}{}
			all.Go(func() {
				defer func() { <-slots }()
				if err := f.Get(b.Context(), blob); err != nil {
					b.Error(err)
				}
			})
		}
		all.Wait()
		f.Close()
	}
}
