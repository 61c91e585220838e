package builder

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"

	"masthead/images"
)

// Names of the files that Netboot writes besides the loaders, which keep their own.
const (
	NetbootKernel    = "vmlinuz"
	NetbootInitramfs = "initramfs"
	NetbootManifest  = "manifest.json"
)

// PackSuffix ends the name of a pack that stands alone.
const PackSuffix = ".pack"

// Netboot writes an image's network-boot set into dir: kernel, initramfs, loaders, the manifest, and a pack with the
// whole image, which 'masthead image import' on a head takes in. Files appear complete or not at all.
func (b *Builder) Netboot(ctx context.Context, built Built, dir string) ([]string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("write the network-boot set: %w", err)
	}
	m := built.Manifest
	parts := map[string]images.Digest{NetbootKernel: m.Kernel.Digest, NetbootInitramfs: m.Initramfs.Digest, NetbootManifest: built.Digest}
	for name, blob := range m.Loaders {
		parts[name] = blob.Digest
	}
	var written []string
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		r, _, err := b.cfg.Store.Open(parts[name])
		if err != nil {
			return nil, err
		}
		file := filepath.Join(dir, name)
		err = writeStream(ctx, file, r)
		r.Close()
		if err != nil {
			return nil, err
		}
		written = append(written, file)
	}
	file := filepath.Join(dir, m.Name+PackSuffix)
	return append(written, file), Export(ctx, b.cfg.Store, map[string]images.Digest{m.Name: built.Digest}, file)
}

// writeStream writes what r gives to file, which appears only once it is complete.
func writeStream(ctx context.Context, file string, r io.Reader) error {
	f, err := renameio.NewPendingFile(file, renameio.WithPermissions(0o644))
	if err != nil {
		return fmt.Errorf("write %s: %w", file, full(err, filepath.Dir(file), 0))
	}
	defer f.Cleanup()
	if _, err := io.Copy(f, &contextReader{ctx, r}); err != nil {
		return fmt.Errorf("write %s: %w", file, full(err, filepath.Dir(file), 0))
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("write %s: %w", file, full(err, filepath.Dir(file), 0))
	}
	return nil
}

// contextReader ends a long copy when its context does.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// putFile stores the content that open gives.
func (b *Builder) putFile(open func() (io.ReadCloser, error)) (images.Blob, error) {
	r, err := open()
	if err != nil {
		return images.Blob{}, err
	}
	defer r.Close()
	return b.cfg.Store.Put(r)
}

// Export writes the images that tags name as one pack to file.
func Export(ctx context.Context, from images.BlobReader, tags map[string]images.Digest, file string) error {
	plan, err := images.PlanPack(from, tags)
	if err != nil {
		return err
	}
	if err := RoomFor(filepath.Dir(file), plan.Size()); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	r, err := plan.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	return writeStream(ctx, file, r)
}
