package tarball

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"masthead/rootfs"
)

// Open reads the root in the archive file. Contents are read from it, or from its unpacked copy in spoolDir ("": the
// system's temporary directory), until the tree is closed.
func Open(ctx context.Context, file, spoolDir string) (*rootfs.Tree, error) {
	tree := rootfs.New()
	if err := open(ctx, tree, file, spoolDir); err != nil {
		tree.Close()
		return nil, fmt.Errorf("read tar %s: %w", file, err)
	}
	return tree, nil
}

func open(ctx context.Context, tree *rootfs.Tree, file, spoolDir string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	head := make([]byte, sniffLen)
	if n, err := f.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		f.Close()
		return err
	} else if sniff(head[:n]) == plain {
		tree.OnClose(f.Close)
		st, err := f.Stat()
		if err != nil {
			return err
		}
		return root(ctx, tree, f, st.Size())
	}
	defer f.Close()
	return Read(ctx, tree, f, spoolDir)
}

// Read adds the root in the archive r, plain or compressed, to tree. Its contents are kept in a file without a name in
// spoolDir until the tree is closed.
func Read(ctx context.Context, tree *rootfs.Tree, r io.Reader, spoolDir string) error {
	f, size, err := spool(ctx, tree, r, spoolDir)
	if err != nil {
		return err
	}
	return root(ctx, tree, f, size)
}

// Layer lays the archive r over tree as a layer of a container image: its whiteouts take away what the layers below
// have, whatever their place in the archive, and then its files are added. Contents are kept as for Read.
func Layer(ctx context.Context, tree *rootfs.Tree, r io.Reader, spoolDir string) error {
	f, size, err := spool(ctx, tree, r, spoolDir)
	if err != nil {
		return err
	}
	return layer(ctx, tree, f, size)
}

// spool unpacks r into a file that lasts as long as the tree, and returns its size.
func spool(ctx context.Context, tree *rootfs.Tree, r io.Reader, dir string) (*os.File, int64, error) {
	f, err := os.CreateTemp(dir, "tar-*")
	if err != nil {
		return nil, 0, err
	}
	tree.OnClose(f.Close)
	if err := os.Remove(f.Name()); err != nil { // it goes with its descriptor
		return nil, 0, err
	}
	z, err := Decompress(contextReader{ctx, r})
	if err != nil {
		return nil, 0, fmt.Errorf("decompress: %w", err)
	}
	defer z.Close()
	size, err := io.CopyBuffer(struct{ io.Writer }{f}, struct{ io.Reader }{z}, make([]byte, 1<<20))
	if err != nil {
		return nil, 0, fmt.Errorf("decompress: %w", err)
	}
	return f, size, nil
}

// contextReader ends with ctx.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
