package rootfs

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"masthead/images"
)

// Build makes a sealed root out of tree and puts its chunks in the store. The image does not
// exist as a whole: its metadata are for a while in a file in the store's own tmp, without a name. The same tree and epoch give the same root.
func Build(ctx context.Context, tree *Tree, epoch time.Time, store *images.Store, opts SealOptions) (images.Root, error) {
	f, err := os.CreateTemp(filepath.Join(store.Dir(), "tmp"), "erofs-*")
	if err != nil {
		return images.Root{}, fmt.Errorf("build root: %w", err)
	}
	defer f.Close()
	// It goes with its last descriptor, also when the program is killed.
	if err := os.Remove(f.Name()); err != nil {
		return images.Root{}, fmt.Errorf("build root: %w", err)
	}
	root, err := buildIn(ctx, f, tree, epoch, store, opts)
	if err != nil {
		return images.Root{}, fmt.Errorf("build root: %w", err)
	}
	return root, nil
}

// buildIn seals the contents while the image is being written, out of memory, and then the metadata, out of f.
func buildIn(ctx context.Context, f *os.File, tree *Tree, epoch time.Time, store *images.Store, opts SealOptions) (images.Root, error) {
	s, err := newSealer(f, store, opts)
	if err != nil {
		return images.Root{}, err
	}
	s.size, s.total = math.MaxInt64, contentSize(tree)
	var out *imageFile
	var writeErr error
	err = s.seal(ctx, func(yield func(int, []byte) bool) {
		out = newImageFile(f, <-s.buffers, func(i int, chunk []byte) ([]byte, error) {
			if !yield(i, chunk) {
				return nil, context.Canceled // for a reason that seal knows
			}
			return <-s.buffers, nil
		})
		writeErr = writeEROFS(ctx, out, tree, epoch)
	})
	if err := cmp.Or(err, writeErr); err != nil {
		return images.Root{}, err
	}
	s.size = out.size
	err = s.seal(ctx, func(yield func(int, []byte) bool) {
		for _, i := range out.late {
			if !yield(i, nil) {
				return
			}
		}
	})
	if err != nil {
		return images.Root{}, err
	}
	return s.root(), nil
}

// contentSize is about the size of the image of tree, for the progress.
func contentSize(tree *Tree) int64 {
	seen := map[*Node]bool{}
	total := int64(blockSize)
	for _, n := range tree.All() {
		if n.IsRegular() && !seen[n] {
			seen[n] = true
			total += (n.Size + blockSize - 1) / blockSize * blockSize
		}
	}
	return total
}
