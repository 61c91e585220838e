package builder

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	diskimage "masthead/builder/disk"
	"masthead/images"
	"masthead/images/disk"
)

// Disk writes the raw image of a disk on which the ISO of def is installed, with size bytes, or the fewest that are of
// use if size is 0. carried is as for ISO. It returns the file's size.
func (b *Builder) Disk(ctx context.Context, def *images.Definition, built Built, carried map[string]images.Digest, size int64, file string) (int64, error) {
	n, err := b.disk(ctx, def, built, carried, size, file)
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", file, err)
	}
	return n, nil
}

func (b *Builder) disk(ctx context.Context, def *images.Definition, built Built, carried map[string]images.Digest, size int64, file string) (int64, error) {
	medium, loader, err := b.medium(def, built, carried)
	if err != nil {
		return 0, err
	}
	layout, err := diskimage.Plan(diskimage.Image{
		Size: size, Identity: fmt.Sprint(built.Digest, carried), Loader: loader, Slot: medium,
		Config: disk.Config{Serial: true, Timeout: int(menuTimeout.Seconds())},
	})
	if err != nil {
		return 0, err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return 0, err
	}
	f, err := renameio.NewPendingFile(file, renameio.WithPermissions(0o644))
	if err != nil {
		return 0, full(err, filepath.Dir(file), 0)
	}
	defer f.Cleanup()
	if err := layout.Write(ctx, f.File, func(done, total int64) { b.progress(def, "disk", done, total, true) }); err != nil {
		return 0, full(err, filepath.Dir(file), 0) // the file has holes
	}
	return layout.Table.Disk, full(f.CloseAtomicallyReplace(), filepath.Dir(file), 0)
}
