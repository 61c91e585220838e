package rootfs

import (
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"

	"masthead/images"
)

// Reader reads a sealed root in place, for tools and tests; a machine that runs one uses node/rootdev. It is safe for
// concurrent use and keeps the chunks that it decoded last: metadata and contents of a file system are read in turns.
type Reader struct {
	root  images.Root
	from  images.Offsets
	blobs images.BlobReader
	dec   *zstd.Decoder

	mu   sync.Mutex
	kept []decoded // the last one used at the end
}

// decoded is a chunk that is kept.
type decoded struct {
	chunk int
	data  []byte
}

// keepDecoded is how many: 8 MiB in chunks of the usual size.
const keepDecoded = 32

// Open reads root out of blobs. Every chunk is verified before it is decoded.
func Open(root images.Root, blobs images.BlobReader) (*Reader, error) {
	// A decoder of untrusted bytes: at most one chunk.
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(max(root.ChunkSize, zstd.MinWindowSize))))
	if err != nil {
		return nil, fmt.Errorf("open root: %w", err)
	}
	return &Reader{root: root, from: root.Offsets(), blobs: blobs, dec: dec}, nil
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
		data, err := r.load(i)
		if err != nil {
			return done, fmt.Errorf("read root: chunk %d: %w", i, err)
		}
		done += copy(p[done:], data[at-r.from[i]:])
	}
	return done, nil
}

func (r *Reader) load(i int) ([]byte, error) {
	var room []byte
	if at := slices.IndexFunc(r.kept, func(d decoded) bool { return d.chunk == i }); at >= 0 {
		d := r.kept[at]
		r.kept = append(slices.Delete(r.kept, at, at+1), d)
		return d.data, nil
	} else if len(r.kept) == keepDecoded {
		room = r.kept[0].data
		r.kept = slices.Delete(r.kept, 0, 1)
	}
	data, err := r.decode(i, room[:0])
	if err != nil {
		return nil, err
	}
	r.kept = append(r.kept, decoded{i, data})
	return data, nil
}

// decode gives a chunk, in room if it fits.
func (r *Reader) decode(i int, room []byte) ([]byte, error) {
	c, want := r.root.Chunks[i], r.root.ChunkLen(i)
	if c.Zero() {
		return append(room, make([]byte, want)...), nil
	}
	stored, err := images.ReadBlob(r.blobs, c.Digest, c.Size)
	if err != nil {
		return nil, err
	}
	data, err := r.dec.DecodeAll(stored, room)
	if err != nil {
		return nil, err
	}
	if int64(len(data)) != want {
		return nil, fmt.Errorf("%d bytes decoded, want %d", len(data), want)
	}
	return data, nil
}
