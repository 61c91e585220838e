package chunks

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"masthead/images"
	"masthead/node/wire"
)

// Defaults of a Reader.
const (
	// DefaultDecoded is small because the kernel caches the blocks themselves: it only has to hold a chunk until the
	// requests that the kernel cut a read into have all come.
	DefaultDecoded = 8 << 20 // bytes

	demandFetches = 6 // at once: enough to fill a gigabit at 5 ms and 100 KiB a chunk
	decoders      = 2 // each about 1 MiB; one decodes some 500 MB/s

	maxWindow = 8 << 20 // bytes of window that a chunk's frame may declare; nothing is allocated for it
)

// Keeper keeps stored chunks for longer than a Reader: on a disk. What it gives is verified again.
type Keeper interface {
	Get(c images.Chunk) []byte // nil if it is not there
	Put(c images.Chunk, data []byte)
}

// ReaderConfig is what NewReader needs.
type ReaderConfig struct {
	Root    images.Root
	Sources *Sources
	Cache   int64            // bytes of stored chunks to keep in memory
	Decoded int64            // bytes of decoded chunks; 0: DefaultDecoded
	Keeper  Keeper           // nil: none
	Notify  func(wire.Event) // as for NewSources
}

// Reader gives the bytes of a root. Its methods may be called by several goroutines at once; it starts none that
// outlive a call.
type Reader struct {
	root    images.Root
	from    images.Offsets // of its chunks
	sources *Sources
	keeper  Keeper
	notify  func(wire.Event)
	decoder *zstd.Decoder
	zeros   []byte // of the largest chunk

	stored, decoded   *lru
	fetching, reading flights
	slots             chan struct{} // demand fetches
	demand            gate

	mu     sync.Mutex
	broken map[images.Digest]error // chunks that verify and do not decode
}

// NewReader makes a Reader; c.Root must have been validated. Close frees it.
func NewReader(c ReaderConfig) (*Reader, error) {
	if c.Decoded == 0 {
		c.Decoded = DefaultDecoded
	}
	// DecodeAll never writes beyond the capacity it is given, so a frame that lies about its size, or does not state
	// it, cannot make it allocate.
	d, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(decoders),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(max(uint64(c.Root.ChunkSize), maxWindow)),
		zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, fmt.Errorf("root reader: %w", err)
	}
	return &Reader{
		root: c.Root, from: c.Root.Offsets(), sources: c.Sources, keeper: c.Keeper, notify: c.Notify, decoder: d,
		zeros:  make([]byte, c.Root.ChunkSize),
		stored: newLRU(c.Cache), decoded: newLRU(max(c.Decoded, c.Root.ChunkSize)),
		slots:  make(chan struct{}, demandFetches),
		broken: map[images.Digest]error{},
	}, nil
}

// Close frees the decoder. No call may be under way.
func (r *Reader) Close() { r.decoder.Close() }

// Slices implements nbd.Backend: it gives n bytes from off, which must lie in the root, in pieces that never change.
// It blocks until all are there. It fails when ctx ends, and when a chunk that verifies does not decode, which no
// source can mend.
func (r *Reader) Slices(ctx context.Context, off, n int64) ([][]byte, error) {
	if off < 0 || n <= 0 || off > r.root.Size || n > r.root.Size-off {
		return nil, fmt.Errorf("read of %d bytes at %d of a root of %d", n, off, r.root.Size)
	}
	first, last := r.from.Chunk(off), r.from.Chunk(off+n-1)
	out := make([][]byte, last-first+1)
	if first == last {
		data, err := r.chunk(ctx, first)
		out[0] = data
		return r.trim(out, first, off, n), err
	}
	g, ctx := errgroup.WithContext(ctx)
	for i := range out {
		g.Go(func() (err error) { // ends with the chunk or with ctx; Wait is below
			out[i], err = r.chunk(ctx, first+i)
			return err
		})
	}
	err := g.Wait()
	return r.trim(out, first, off, n), err
}

// trim cuts what is not of the n bytes from off from the first and the last of the chunks, which are those from first on.
func (r *Reader) trim(chunks [][]byte, first int, off, n int64) [][]byte {
	if chunks[0] == nil || chunks[len(chunks)-1] == nil {
		return nil
	}
	last := len(chunks) - 1
	chunks[last] = chunks[last][:off+n-r.from[first+last]]
	chunks[0] = chunks[0][off-r.from[first]:]
	return chunks
}

// chunk is the decoded chunk i.
func (r *Reader) chunk(ctx context.Context, i int) ([]byte, error) {
	c := r.root.Chunks[i]
	size := r.root.ChunkLen(i)
	if c.Zero() {
		return r.zeros[:size], nil
	}
	if data := r.decoded.get(c.Digest); data != nil {
		return data, nil
	}
	return r.reading.do(ctx, c.Digest, func() ([]byte, error) {
		if data := r.decoded.get(c.Digest); data != nil {
			return data, nil
		}
		stored, err := r.fetch(ctx, c, true)
		if err != nil {
			return nil, err
		}
		data, err := r.decode(i, stored)
		if err != nil {
			return nil, err
		}
		r.decoded.add(c.Digest, data)
		return data, nil
	})
}

// decode decodes chunk i, verified.
func (r *Reader) decode(i int, stored []byte) ([]byte, error) {
	d := r.root.Chunks[i].Digest
	r.mu.Lock()
	err := r.broken[d]
	r.mu.Unlock()
	if err != nil {
		return nil, err
	}
	want := r.root.ChunkLen(i)
	data, err := r.decoder.DecodeAll(stored, make([]byte, 0, want))
	if err == nil && int64(len(data)) != want {
		err = fmt.Errorf("%d bytes, want %d", len(data), want)
	}
	if err == nil {
		return data, nil
	}
	err = fmt.Errorf("chunk %d of the root (%s) was sealed wrongly: %w", i, d.Short(), err)
	r.mu.Lock()
	r.broken[d] = err
	r.mu.Unlock()
	if r.notify != nil {
		r.notify(wire.Event{Time: time.Now(), Kind: "root", Text: err.Error(), Failed: true})
	}
	return nil, err
}

// fetch is the stored chunk c, verified: from memory, the keeper or the sources. demand says that a read waits for it.
func (r *Reader) fetch(ctx context.Context, c images.Chunk, demand bool) ([]byte, error) {
	if data := r.stored.get(c.Digest); data != nil {
		return data, nil
	}
	return r.fetching.do(ctx, c.Digest, func() ([]byte, error) {
		if data := r.stored.get(c.Digest); data != nil {
			return data, nil
		}
		if r.keeper != nil {
			if data := r.keeper.Get(c); data != nil && verify(c, data) == nil {
				r.stored.add(c.Digest, data)
				return data, nil
			}
		}
		if demand {
			r.demand.enter()
			defer r.demand.leave()
			select {
			case r.slots <- struct{}{}:
				defer func() { <-r.slots }()
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		data, err := r.sources.Fetch(ctx, c)
		if err != nil {
			return nil, err
		}
		if r.keeper != nil {
			r.keeper.Put(c, data)
		}
		if demand {
			r.stored.add(c.Digest, data)
		} else {
			r.stored.addIfRoom(c.Digest, data)
		}
		return data, nil
	})
}

// Status fills in what the Reader and its sources know of how the root stands.
func (r *Reader) Status(st *wire.RootStatus) {
	r.sources.Status(st)
	st.Chunks = len(r.root.Chunks)
	st.Present = 0
	for _, c := range r.root.Chunks {
		if c.Zero() || r.stored.has(c.Digest) {
			st.Present++
		}
	}
	st.CacheBytes = r.stored.bytes()
}
