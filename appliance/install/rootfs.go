package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	erofs "github.com/erofs/go-erofs"

	"masthead/images"
	"masthead/node/rootdev/chunks"
)

// OpenRoot reads the root of an image where it lies, in the pack of an ISO, without a block device. close frees it.
func OpenRoot(ctx context.Context, v *Volume, d images.Digest) (root fs.FS, close func(), err error) {
	pack, err := v.Pack()
	if err != nil {
		return nil, nil, err
	}
	m, err := images.ReadManifest(pack, d)
	if err != nil {
		return nil, nil, fmt.Errorf("read the root of image %s: %w", d.Short(), err)
	}
	sources := chunks.NewSources([]chunks.Source{chunks.Blobs("pack", pack)}, nil)
	reader, err := chunks.NewReader(chunks.ReaderConfig{Root: m.Root, Sources: sources})
	if err != nil {
		sources.Close()
		return nil, nil, err
	}
	free := func() { reader.Close(); sources.Close() }
	root, err = erofs.Open(&rootReader{ctx, reader, m.Root.Size})
	if err != nil {
		free()
		return nil, nil, fmt.Errorf("read the root of image %s: %w", d.Short(), err)
	}
	return root, free, nil
}

// rootReader reads the bytes of a root.
type rootReader struct {
	ctx  context.Context
	r    *chunks.Reader
	size int64
}

func (r *rootReader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("read before the beginning")
	}
	n := min(int64(len(p)), r.size-off)
	if n <= 0 {
		return 0, io.EOF
	}
	parts, err := r.r.Slices(r.ctx, off, n)
	if err != nil {
		return 0, err
	}
	at := 0
	for _, part := range parts {
		at += copy(p[at:], part)
	}
	if at < len(p) {
		return at, io.EOF
	}
	return at, nil
}
