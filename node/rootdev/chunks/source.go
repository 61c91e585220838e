package chunks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"masthead/images"
	"masthead/node/wire"
)

// Source holds stored chunks.
type Source interface {
	// Name tells people which one it is: a URL, "pack".
	Name() string
	// Fetch gives the stored bytes of a chunk, which nobody has verified; they are the caller's. It blocks until all
	// of them are there, and returns soon after ctx ends if it can: a read of a disk that hangs cannot be
	// interrupted, and the caller must live with that. Several calls may run at once.
	Fetch(ctx context.Context, c images.Chunk) ([]byte, error)
}

// Errors of sources that callers tell apart.
var (
	ErrStalled = errors.New("no byte came")
	ErrShort   = errors.New("the wrong number of bytes")
	ErrLies    = errors.New("the bytes are not those of the chunk")
)

// Blobs makes a Source of anything that opens blobs: a Pack on a medium, a Store in a directory.
func Blobs(name string, r images.BlobReader) Source { return blobs{name, r} }

type blobs struct {
	name string
	r    images.BlobReader
}

func (b blobs) Name() string { return b.name }

func (b blobs) Fetch(_ context.Context, c images.Chunk) ([]byte, error) {
	f, size, err := b.r.Open(c.Digest)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readChunk(f, size, c)
}

// Memory is a Source over chunks in memory, by digest.
type Memory map[images.Digest][]byte

// Name implements Source.
func (m Memory) Name() string { return "memory" }

// Fetch implements Source.
func (m Memory) Fetch(_ context.Context, c images.Chunk) ([]byte, error) {
	data, ok := m[c.Digest]
	if !ok {
		return nil, fmt.Errorf("chunk %s: %w", c.Digest.Short(), images.ErrNotFound)
	}
	return append([]byte(nil), data...), nil
}

// DefaultStall is how long a head may send nothing, from the dial on. It is longer than maxHedge: where there is
// another source, that is asked first, and where there is none, a head that a hundred machines boot from at once must
// not be asked again and again for what it is about to send. A handshake on a slow machine takes a second of it.
const DefaultStall = 5 * time.Second

// Head makes a Source of a head's blobs. The Source owns the client; Close drops its idle connections.
func Head(c *wire.Client) Source { return &head{client: c, stall: DefaultStall} }

type head struct {
	client *wire.Client
	stall  time.Duration
}

func (h *head) Name() string { return h.client.Base }

// Close implements io.Closer.
func (h *head) Close() error {
	h.client.Close()
	return nil
}

func (h *head) Fetch(ctx context.Context, c images.Chunk) ([]byte, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// The watch covers the dial, the request and every read: each byte winds it up again.
	watch := time.AfterFunc(h.stall, func() { cancel(ErrStalled) })
	defer watch.Stop()

	data, err := h.fetch(ctx, c, func() { watch.Reset(h.stall) })
	if err != nil && errors.Is(context.Cause(ctx), ErrStalled) {
		err = fmt.Errorf("%s for %v: %w", h.Name(), h.stall, ErrStalled)
	}
	return data, err
}

func (h *head) fetch(ctx context.Context, c images.Chunk, progress func()) ([]byte, error) {
	body, size, err := h.client.Blob(ctx, c.Digest)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	progress()
	data, err := readChunk(&progressReader{body, progress}, size, c)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h.Name(), err)
	}
	return data, nil
}

type progressReader struct {
	r        io.Reader
	progress func()
}

func (p *progressReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	if n > 0 {
		p.progress()
	}
	return n, err
}

// readChunk reads a chunk of which r claims to hold size bytes, or -1 if it does not say. It reads to the end, so that
// a connection can be used again.
func readChunk(r io.Reader, size int64, c images.Chunk) ([]byte, error) {
	if size >= 0 && size != c.Size {
		return nil, fmt.Errorf("chunk %s: %w: %d, want %d", c.Digest.Short(), ErrShort, size, c.Size)
	}
	data := make([]byte, c.Size)
	if n, err := io.ReadFull(r, data); err != nil {
		return nil, fmt.Errorf("chunk %s: %w: %d of %d: %w", c.Digest.Short(), ErrShort, n, c.Size, err)
	}
	var more [1]byte
	if n, err := r.Read(more[:]); n != 0 {
		return nil, fmt.Errorf("chunk %s: %w: more than %d", c.Digest.Short(), ErrShort, c.Size)
	} else if err != nil && err != io.EOF {
		return nil, fmt.Errorf("chunk %s: %w", c.Digest.Short(), err)
	}
	return data, nil
}

// verify checks stored bytes against what the manifest says of them.
func verify(c images.Chunk, data []byte) error {
	if int64(len(data)) != c.Size {
		return fmt.Errorf("chunk %s: %w: %d, want %d", c.Digest.Short(), ErrShort, len(data), c.Size)
	}
	if got := images.DigestOf(data); got != c.Digest {
		return fmt.Errorf("chunk %s: %w: their digest is %s", c.Digest.Short(), ErrLies, got.Short())
	}
	return nil
}
