package rootfs

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"masthead/images"
)

// DefaultChunkSize is a compromise: a chunk of 512 KiB makes a Debian root 2 per cent smaller and sealing it a tenth
// faster (BenchmarkChunks), and makes a lazy read of a few bytes twice as dear.
const DefaultChunkSize = 256 << 10

// SealOptions say how an image is cut and compressed. The zero value is the default.
type SealOptions struct {
	ChunkSize int64 // bytes, a power of two; 0: DefaultChunkSize
	Level     Level // 0: LevelDefault
	Workers   int   // 0: as many as there are processors; the result does not depend on it
	// Progress, if not nil, is told how many bytes of the image are sealed. It is called from several goroutines, one at
	// a time.
	Progress func(done, total int64)
}

// Level is how hard zstd tries.
type Level = zstd.EncoderLevel

// LevelDefault is the level that seals a Debian root about as fast as mksquashfs does with zstd at level 3, into 2 to 9
// per cent more. The next level takes a third more time and saves 2 to 5 per cent (BenchmarkChunks).
const LevelDefault Level = zstd.SpeedFastest

func (o SealOptions) withDefaults() SealOptions {
	if o.ChunkSize == 0 {
		o.ChunkSize = DefaultChunkSize
	}
	if o.Level == 0 {
		o.Level = LevelDefault
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	return o
}

// Seal cuts an image of size bytes into chunks of one size, compresses each into one zstd frame and puts them in the store. Chunks of
// zeros are not stored. The result depends on the image, the chunk size and the level alone. It blocks until all is
// stored; what a failed Seal leaves in the store is for Store.Collect.
func Seal(ctx context.Context, image io.ReaderAt, size int64, store *images.Store, opts SealOptions) (images.Root, error) {
	opts = opts.withDefaults()
	s, err := newSealer(image, store, opts, opts.ChunkSize)
	if err != nil {
		return images.Root{}, err
	}
	s.size, s.total = size, size
	err = s.seal(ctx, func(yield func(int, []byte) bool) {
		for i := 0; int64(i)*s.opts.ChunkSize < size && yield(i, nil); i++ {
		}
	})
	if err != nil {
		return images.Root{}, err
	}
	return s.root(), nil
}

// sealer seals chunks of one image.
type sealer struct {
	image io.ReaderAt
	store *images.Store
	opts  SealOptions
	most  int64 // bytes of a chunk, at most
	size  int64 // of the image
	total int64 // for Progress
	// Memory for chunks: for each worker one that it seals and one of its own, one that waits for a worker and one that is
	// being filled.
	buffers chan []byte

	mu     sync.Mutex
	chunks []images.Chunk // that are sealed so far
	done   int64          // bytes
}

// newSealer takes options with all defaults filled in. most is the size of the largest chunk.
func newSealer(image io.ReaderAt, store *images.Store, opts SealOptions, most int64) (*sealer, error) {
	if c := opts.ChunkSize; c < images.MinChunkSize || most > images.MaxChunkSize || c&(c-1) != 0 {
		return nil, fmt.Errorf("seal: chunk size %d: want a power of two from %d to %d", c, images.MinChunkSize, images.MaxChunkSize*c/most)
	}
	s := &sealer{image: image, store: store, opts: opts, most: most, buffers: make(chan []byte, 2*opts.Workers+2)}
	for range cap(s.buffers) {
		s.buffers <- make([]byte, most)
	}
	return s, nil
}

// job is a chunk to seal. Its data are in one of the sealer's buffers; without any they are in the image.
type job struct {
	index int
	data  []byte
}

// seal seals the chunks that todo gives, in parallel, and returns when all are stored. A chunk in memory is in a buffer
// taken from s.buffers, which goes back there. todo runs in the caller's goroutine, may block, and must stop when it is
// told to; it gives no chunk twice.
func (s *sealer) seal(ctx context.Context, todo iter.Seq2[int, []byte]) error {
	g, gctx := errgroup.WithContext(ctx)
	queue := make(chan job)
	for range s.opts.Workers {
		g.Go(func() error { return s.work(gctx, queue) })
	}
	for i, data := range todo {
		select {
		case queue <- job{i, data}:
			continue
		case <-gctx.Done():
		}
		break
	}
	close(queue)
	err := g.Wait()
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	return nil
}

// root is the result, once every chunk is sealed.
func (s *sealer) root() images.Root {
	return images.Root{Size: s.size, ChunkSize: s.most, Chunks: s.chunks}
}

// newEncoder makes an encoder whose output depends on its input alone: one goroutine, no checksum (the digest is one),
// and a window that a chunk fills at most, so that a decoder needs no more memory than the chunk.
func newEncoder(level Level, chunkSize int64) (*zstd.Encoder, error) {
	return zstd.NewWriter(nil,
		zstd.WithEncoderLevel(level),
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false),
		zstd.WithWindowSize(int(min(max(chunkSize, zstd.MinWindowSize), zstd.MaxWindowSize))))
}

// work seals chunks until there are none left.
func (s *sealer) work(ctx context.Context, queue <-chan job) error {
	enc, err := newEncoder(s.opts.Level, s.most)
	if err != nil {
		return err
	}
	defer enc.Close()
	own := <-s.buffers // for chunks that are read here
	defer func() { s.buffers <- own }()
	var stored []byte
	for j := range queue {
		data := j.data
		if data == nil {
			data, err = s.readChunk(j.index, own)
		}
		var b images.Blob
		if err == nil && !allZero(data) {
			stored = enc.EncodeAll(data, stored[:0])
			b, err = s.store.PutBytes(stored)
		}
		n := len(data)
		if j.data != nil {
			s.buffers <- j.data // whatever happened: the one who gave it may wait for it
		}
		if err = cmp.Or(err, ctx.Err()); err != nil {
			return err
		}
		s.sealed(j.index, images.Chunk(b), n)
	}
	return nil
}

func (s *sealer) readChunk(i int, buf []byte) ([]byte, error) {
	off := int64(i) * s.opts.ChunkSize
	data := buf[:min(s.opts.ChunkSize, s.size-off)]
	if n, err := s.image.ReadAt(data, off); n < len(data) {
		return nil, fmt.Errorf("read chunk %d: %w", i, err)
	}
	return data, nil
}

func (s *sealer) sealed(i int, c images.Chunk, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if missing := i + 1 - len(s.chunks); missing > 0 {
		s.chunks = append(s.chunks, make([]images.Chunk, missing)...)
	}
	s.chunks[i] = c
	s.done += int64(n)
	if s.opts.Progress != nil {
		s.opts.Progress(min(s.done, s.total), s.total)
	}
}

var zeros [4096]byte

func allZero(p []byte) bool {
	for len(p) > 0 {
		n := min(len(p), len(zeros))
		if !bytes.Equal(p[:n], zeros[:n]) {
			return false
		}
		p = p[n:]
	}
	return true
}
