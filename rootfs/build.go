package rootfs

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"masthead/images"
)

// Build makes a sealed root out of tree and puts its chunks in the store. The image never exists as a whole. The same
// tree and epoch give the same root. Its chunks begin and end where files do (see group.go), so that the next version of
// the tree has most of its chunks in common with this one; opts.ChunkSize is what most of them have, and none has more
// than twice that.
func Build(ctx context.Context, tree *Tree, epoch time.Time, store *images.Store, opts SealOptions) (images.Root, error) {
	root, err := build(ctx, tree, epoch, store, opts)
	if err != nil {
		return images.Root{}, fmt.Errorf("build root: %w", err)
	}
	return root, nil
}

func build(ctx context.Context, tree *Tree, epoch time.Time, store *images.Store, opts SealOptions) (images.Root, error) {
	opts = opts.withDefaults()
	s, err := newSealer(nil, store, opts, 2*opts.ChunkSize)
	if err != nil {
		return images.Root{}, err
	}
	l, err := plan(tree, epoch, opts.ChunkSize)
	if err != nil {
		return images.Root{}, err
	}
	for _, g := range l.groups {
		s.total += g.bytes
	}
	s.total += blockSize
	s.size = l.size
	var lengths []int64
	var cutErr error
	err = s.seal(ctx, func(yield func(int, []byte) bool) {
		w := &cutter{ctx: ctx, size: opts.ChunkSize, buf: <-s.buffers, emit: func(data []byte, n int64) ([]byte, error) {
			lengths = append(lengths, n)
			if data == nil {
				return nil, nil
			}
			if !yield(len(lengths)-1, data) {
				return nil, context.Canceled // for a reason that seal knows
			}
			return <-s.buffers, nil
		}}
		cutErr = w.image(l)
	})
	if err := cmp.Or(err, cutErr); err != nil {
		return images.Root{}, err
	}
	root := s.root()
	root.Lengths = lengths
	return root, nil
}
