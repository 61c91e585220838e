package chunks

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"masthead/images"
	"masthead/node/wire"
)

// content is n bytes that compress about as well as programs do, with a hole in the middle.
func content(n int) []byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := 0; i < n; {
		run := 4 + rnd.IntN(28)
		if i > 64 && rnd.IntN(3) > 0 {
			i += copy(b[i:min(i+run, n)], b[rnd.IntN(i-32):i])
			continue
		}
		for end := min(i+run, n); i < end; i++ {
			b[i] = byte(rnd.Uint32())
		}
	}
	clear(b[n/3 : n/2])
	return b
}

// seal cuts data as an image build does.
func seal(t testing.TB, data []byte, size int64) (images.Root, Memory) {
	t.Helper()
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	root := images.Root{Size: int64(len(data)), ChunkSize: size}
	held := Memory{}
	for off := int64(0); off < root.Size; off += size {
		piece := data[off:min(off+size, root.Size)]
		if len(bytes.Trim(piece, "\x00")) == 0 {
			root.Chunks = append(root.Chunks, images.Chunk{})
			continue
		}
		stored := enc.EncodeAll(piece, nil)
		c := chunkOf(stored)
		held[c.Digest] = stored
		root.Chunks = append(root.Chunks, c)
	}
	return root, held
}

// sealVaried cuts data into chunks of many lengths, as a build from a tree does.
func sealVaried(t testing.TB, data []byte, most int64) (images.Root, Memory) {
	t.Helper()
	root := images.Root{Size: int64(len(data)), ChunkSize: most}
	held := Memory{}
	rnd := rand.New(rand.NewPCG(3, 4))
	for off := int64(0); off < root.Size; {
		n := min(4096*(1+rnd.Int64N(most/4096)), root.Size-off)
		piece, pieces := seal(t, data[off:off+n], most)
		root.Lengths = append(root.Lengths, n)
		root.Chunks = append(root.Chunks, piece.Chunks...)
		maps.Copy(held, pieces)
		off += n
	}
	return root, held
}

// newReader makes a Reader that is closed with the test.
func newReader(t testing.TB, c ReaderConfig) *Reader {
	t.Helper()
	r, err := NewReader(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func read(t testing.TB, r *Reader, off, n int64) []byte {
	t.Helper()
	pieces, err := r.Slices(t.Context(), off, n)
	if err != nil {
		t.Fatalf("read %d at %d: %v", n, off, err)
	}
	return bytes.Join(pieces, nil)
}

func TestSlices(t *testing.T) {
	for name, cut := range map[string]func(testing.TB, []byte, int64) (images.Root, Memory){"of one size": seal, "of many": sealVaried} {
		t.Run(name, func(t *testing.T) {
			data := content(1<<20 + 12345)
			root, held := cut(t, data, 64<<10)
			testSlices(t, data, root, held)
		})
	}
}

func testSlices(t *testing.T, data []byte, root images.Root, held Memory) {
	s := NewSources([]Source{held}, nil)
	defer s.Close()
	r := newReader(t, ReaderConfig{Root: root, Sources: s, Cache: 100 << 10, Decoded: 128 << 10})
	rapid.Check(t, func(rt *rapid.T) {
		off := rapid.Int64Range(0, root.Size-1).Draw(rt, "off")
		n := rapid.Int64Range(1, min(root.Size-off, 300<<10)).Draw(rt, "n")
		if got := read(t, r, off, n); !bytes.Equal(got, data[off:off+n]) {
			rt.Fatalf("%d bytes at %d are wrong", n, off)
		}
	})
	if st := r.stored.bytes(); st > 100<<10 {
		t.Errorf("the cache holds %d bytes, at most %d", st, 100<<10)
	}
	for _, bad := range [][2]int64{{-1, 10}, {0, 0}, {root.Size, 1}, {root.Size - 1, 2}, {1 << 62, 1 << 62}} {
		if _, err := r.Slices(t.Context(), bad[0], bad[1]); err == nil {
			t.Errorf("%d bytes at %d were read", bad[1], bad[0])
		}
	}
}

// TestFetchedOnce has many reads want the same chunk at the same moment.
func TestFetchedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := content(64 << 10)
		root, held := seal(t, data, 64<<10)
		a := &fake{name: "a", answer: func(ctx context.Context, c images.Chunk) ([]byte, error) {
			return after(ctx, time.Second, held[c.Digest], nil)
		}}
		s := NewSources([]Source{a}, nil)
		defer s.Close()
		r := newReader(t, ReaderConfig{Root: root, Sources: s, Cache: 1 << 20})
		var all sync.WaitGroup
		for i := range int64(100) {
			all.Go(func() {
				if got := read(t, r, i*600, 600); !bytes.Equal(got, data[i*600:][:600]) {
					t.Errorf("read %d is wrong", i)
				}
			})
		}
		all.Wait()
		if asked, _ := a.count(); asked != 1 {
			t.Errorf("fetched %d times", asked)
		}
		r.decoded = newLRU(0) // as if it had gone
		read(t, r, 0, 600)
		if asked, _ := a.count(); asked != 1 {
			t.Error("fetched again although it was in the cache")
		}
	})
}

// TestLeaderLeaves has the read that fetches a chunk go away while another one waits for the same.
func TestLeaderLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := content(64 << 10)
		root, held := seal(t, data, 64<<10)
		a := &fake{name: "a", answer: func(ctx context.Context, c images.Chunk) ([]byte, error) {
			return after(ctx, time.Second, held[c.Digest], nil)
		}}
		s := NewSources([]Source{a}, nil)
		defer s.Close()
		r := newReader(t, ReaderConfig{Root: root, Sources: s, Cache: 1 << 20})
		ctx, cancel := context.WithCancel(t.Context())
		go func() { // ends when ctx does
			if _, err := r.Slices(ctx, 0, 100); !errors.Is(err, context.Canceled) {
				t.Errorf("the one that left got %v", err)
			}
		}()
		synctest.Wait()
		time.AfterFunc(500*time.Millisecond, cancel)
		if got := read(t, r, 100, 100); !bytes.Equal(got, data[100:200]) {
			t.Error("wrong bytes")
		}
	})
}

// TestCachedWhileNoSource reads what is cached while other reads wait for a source.
func TestCachedWhileNoSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := content(1 << 20)
		root, held := seal(t, data, 16<<10)
		a := &fake{name: "a", answer: held.Fetch}
		s := NewSources([]Source{a}, nil)
		r := newReader(t, ReaderConfig{Root: root, Sources: s, Cache: 1 << 20})
		read(t, r, 0, 16<<10)
		a.becomes(fails)
		var waiting sync.WaitGroup
		for i := range int64(20) { // more than there are slots
			waiting.Go(func() {
				if _, err := r.Slices(t.Context(), (i+1)*16<<10, 1); !errors.Is(err, ErrClosed) {
					t.Errorf("read %d: %v", i, err)
				}
			})
		}
		time.Sleep(time.Minute)
		start := time.Now()
		if got := read(t, r, 0, 16<<10); !bytes.Equal(got, data[:16<<10]) || time.Since(start) != 0 {
			t.Errorf("a cached chunk took %v", time.Since(start))
		}
		var st wire.RootStatus
		if r.Status(&st); st.Present < 1 || st.Chunks != 64 || st.Waiting < 58 {
			t.Errorf("status %+v", st)
		}
		s.Close()
		waiting.Wait()
	})
}

func TestSealedWrongly(t *testing.T) {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	tests := []struct {
		name   string
		stored []byte
	}{
		{"not zstd", []byte("plain")},
		{"too short", enc.EncodeAll(make([]byte, 4095), nil)},
		{"too long", enc.EncodeAll(make([]byte, 4097), nil)},
		{"a bomb", enc.EncodeAll(make([]byte, 64<<20), nil)},
		{"cut", enc.EncodeAll(content(4096), nil)[:200]},
		{"empty frame", enc.EncodeAll(nil, nil)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := chunkOf(test.stored)
			root := images.Root{Size: 4096, ChunkSize: 4096, Chunks: []images.Chunk{c}}
			var said events
			s := NewSources([]Source{Memory{c.Digest: test.stored}}, said.add)
			defer s.Close()
			r := newReader(t, ReaderConfig{Root: root, Sources: s, Cache: 1 << 20, Notify: said.add})
			for range 3 {
				if _, err := r.Slices(t.Context(), 0, 512); err == nil || !strings.Contains(err.Error(), "sealed wrongly") {
					t.Fatalf("got %v", err)
				}
			}
			if got := said.all(); len(got) != 1 {
				t.Errorf("told %q, want it once", got)
			}
		})
	}
}

func TestPrefetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := content(1 << 20)
		root, held := seal(t, data, 16<<10)
		var got []images.Digest
		a := &fake{name: "a"}
		a.answer = func(ctx context.Context, c images.Chunk) ([]byte, error) {
			a.mu.Lock()
			got = append(got, c.Digest)
			a.mu.Unlock()
			return after(ctx, 10*time.Millisecond, held[c.Digest], nil)
		}
		s := NewSources([]Source{a}, nil)
		defer s.Close()
		r := newReader(t, ReaderConfig{Root: root, Sources: s, Cache: 1 << 20})
		if err := r.Prefetch(t.Context(), []int{60, 3, -1, 999, 60}); err != nil {
			t.Fatal(err)
		}
		if len(got) != 2 || !r.stored.has(root.Chunks[60].Digest) || !r.stored.has(root.Chunks[3].Digest) {
			t.Errorf("with an order: fetched %d chunks, want 60 and 3", len(got))
		}
		if err := r.Prefetch(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		var st wire.RootStatus
		if r.Status(&st); st.Present != len(root.Chunks) || st.BytesFetched != root.Stored() {
			t.Errorf("present %d of %d, fetched %d of %d", st.Present, len(root.Chunks), st.BytesFetched, root.Stored())
		}
		if _, most := a.count(); most > prefetchers {
			t.Errorf("%d at once", most)
		}
		a.becomes(fails)
		if got := read(t, r, 0, 1<<20); !bytes.Equal(got, data) {
			t.Error("what was prefetched is wrong")
		}
	})
}

func TestPrefetchStopsWhenFull(t *testing.T) {
	data := content(1 << 20)
	root, held := seal(t, data, 16<<10)
	s := NewSources([]Source{held}, nil)
	defer s.Close()
	r := newReader(t, ReaderConfig{Root: root, Sources: s, Cache: root.Stored() / 2})
	if err := r.Prefetch(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if n := r.stored.bytes(); n > root.Stored()/2 || n < root.Stored()/3 {
		t.Errorf("holds %d of %d bytes, bound %d", n, root.Stored(), root.Stored()/2)
	}
	// At most one chunk for each prefetcher came in vain: nothing had to go for a later one.
	var st wire.RootStatus
	if r.Status(&st); st.BytesFetched-st.CacheBytes > prefetchers*17<<10 {
		t.Errorf("fetched %d bytes to hold %d", st.BytesFetched, st.CacheBytes)
	}
}

// TestDemandFirst has reads come while a prefetch is under way: each must take as long as without it.
func TestDemandFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := content(4 << 20)
		root, held := seal(t, data, 16<<10)
		var mu sync.Mutex
		busy, overlap := false, 0
		demanded := map[images.Digest]bool{}
		a := &fake{name: "a", answer: func(ctx context.Context, c images.Chunk) ([]byte, error) {
			mu.Lock()
			if busy && !demanded[c.Digest] {
				overlap++ // a prefetch began while a read waited
			}
			mu.Unlock()
			return after(ctx, 20*time.Millisecond, held[c.Digest], nil)
		}}
		s := NewSources([]Source{a}, nil)
		defer s.Close()
		r := newReader(t, ReaderConfig{Root: root, Sources: s, Cache: 64 << 20})
		done := make(chan error, 1)
		go func() { done <- r.Prefetch(t.Context(), nil) }() // received below
		time.Sleep(5 * time.Millisecond)
		for i := len(root.Chunks) - 1; i > len(root.Chunks)-20; i-- {
			mu.Lock()
			busy = true
			demanded[root.Chunks[i].Digest] = true
			mu.Unlock()
			start := time.Now()
			read(t, r, int64(i)*16<<10, 512)
			if took := time.Since(start); took != 20*time.Millisecond {
				t.Errorf("a read took %v", took)
			}
			mu.Lock()
			busy = false
			mu.Unlock()
			time.Sleep(30 * time.Millisecond)
		}
		if overlap > 0 {
			t.Errorf("%d prefetches began while a read waited", overlap)
		}
		if asked, _ := a.count(); asked > 19+prefetchers {
			t.Errorf("%d fetches before the machine was quiet", asked)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		var st wire.RootStatus
		if r.Status(&st); st.Present != st.Chunks {
			t.Errorf("present %d of %d", st.Present, st.Chunks)
		}
	})
}

func TestLoad(t *testing.T) {
	data := content(1 << 20)
	root, held := seal(t, data, 16<<10)
	a := &fake{name: "a", answer: held.Fetch}
	s := NewSources([]Source{a}, nil)
	defer s.Close()

	small := newReader(t, ReaderConfig{Root: root, Sources: s, Cache: root.Stored() - 1})
	if err := small.Load(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "MiB of memory") {
		t.Errorf("without room: %v", err)
	}
	if asked, _ := a.count(); asked != 0 {
		t.Errorf("fetched %d chunks before it was clear that they do not fit", asked)
	}

	r := newReader(t, ReaderConfig{Root: root, Sources: s, Cache: root.Stored()})
	var mu sync.Mutex
	var most int
	if err := r.Load(t.Context(), func(n, _ int) { mu.Lock(); most = max(most, n); mu.Unlock() }); err != nil {
		t.Fatal(err)
	}
	if most != len(root.Chunks) {
		t.Errorf("progress went to %d of %d", most, len(root.Chunks))
	}
	a.becomes(fails)
	for range 2 { // nothing goes
		if got := read(t, r, 0, root.Size); !bytes.Equal(got, data) {
			t.Error("wrong bytes")
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := newReader(t, ReaderConfig{Root: root, Sources: s, Cache: root.Stored()}).Load(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("when its context has ended: %v", err)
	}
}

func TestBounds(t *testing.T) {
	for _, test := range []struct{ memory, lazy, ram int64 }{
		{128 << 20, 8 << 20, 0},
		{512 << 20, 32 << 20, 240 << 20},
		{1 << 30, 64 << 20, 624 << 20},
		{4 << 30, 832 << 20, 2928 << 20},
	} {
		if got := CacheBound(test.memory); got != test.lazy {
			t.Errorf("%d MiB, lazy: %d MiB, want %d", test.memory>>20, got>>20, test.lazy>>20)
		}
		if got := RAMBound(test.memory); got != test.ram {
			t.Errorf("%d MiB, ram: %d MiB, want %d", test.memory>>20, got>>20, test.ram>>20)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	data := content(64 << 20)
	root, held := seal(b, data, 256<<10)
	s := NewSources([]Source{held}, nil)
	defer s.Close()
	for _, bench := range []struct {
		name  string
		cache int64
	}{
		{"fetched", 0}, // from another part of memory, verified
		{"cached", 1 << 30},
	} {
		b.Run(bench.name, func(b *testing.B) {
			r := newReader(b, ReaderConfig{Root: root, Sources: s, Cache: bench.cache})
			b.SetBytes(256 << 10)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for off := rand.Int64N(root.Size); pb.Next(); off += 128 << 10 { // as the kernel asks
					if _, err := r.Slices(context.Background(), off/(128<<10)*(128<<10)%root.Size, 128<<10); err != nil {
						b.Error(err)
					}
					off += 128 << 10
					if _, err := r.Slices(context.Background(), off/(128<<10)*(128<<10)%root.Size, 128<<10); err != nil {
						b.Error(err)
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "chunks/s")
		})
	}
}
