package rootfs

import (
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"

	"masthead/images"
)

// Reader reads a sealed root in place, for tools and tests; a machine that runs one uses node/rootdev. It is safe for
// concurrent use and keeps one decoded chunk.
type Reader struct {
	root  images.Root
	from  images.Offsets
	blobs images.BlobReader
	dec   *zstd.Decoder

	mu    sync.Mutex
	chunk int // that is in data; -1: none
	data  []byte
}

// Open reads root out of blobs. Every chunk is verified before it is decoded.
func Open(root images.Root, blobs images.BlobReader) (*Reader, error) {
	// A decoder of untrusted bytes: at most one chunk.
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(max(root.ChunkSize, zstd.MinWindowSize))))
	if err != nil {
		return nil, fmt.Errorf("open root: %w", err)
	}
	return &Reader{root: root, from: root.Offsets(), blobs: blobs, dec: dec, chunk: -1}, nil
}

// Size is the number of bytes of the image.
func (r *Reader) Size() int64 { return r.root.Size }

// Close frees the decoder.
func (r *Reader) Close() error {
	r.dec.Close()
	return nil
}

// ReadAt implements io.ReaderAt.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if off < 0 {
		return 0, fmt.Errorf("read root at %d", off)
	}
	done := 0
	for done < len(p) {
		at := off + int64(done)
		if at >= r.root.Size {
			return done, io.EOF
		}
		i := r.from.Chunk(at)
		if err := r.load(i); err != nil {
			return done, fmt.Errorf("read root: chunk %d: %w", i, err)
		}
		done += copy(p[done:], r.data[at-r.from[i]:])
	}
	return done, nil
}

func (r *Reader) load(i int) error {
	if r.chunk == i {
		return nil
	}
	r.chunk = -1
	c, want := r.root.Chunks[i], r.root.ChunkLen(i)
	if c.Zero() {
		r.data = append(r.data[:0], make([]byte, want)...)
		r.chunk = i
		return nil
	}
	stored, err := images.ReadBlob(r.blobs, c.Digest, c.Size)
	if err != nil {
		return err
	}
	if r.data, err = r.dec.DecodeAll(stored, r.data[:0]); err != nil {
		return err
	}
	if int64(len(r.data)) != want {
		return fmt.Errorf("%d bytes decoded, want %d", len(r.data), want)
	}
	r.chunk = i
	return nil
}
