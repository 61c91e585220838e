package chunks

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"masthead/images"
)

const (
	prefetchers = 2 // at once
	loaders     = 6 // at once, before the root is there: nobody else wants the link

	// prefetchQuiet is how long no read may have waited for a chunk before the next is fetched ahead: a machine that
	// boots has the link, its processor, and its share of its heads, to itself. The pauses of a boot in which programs
	// compute are shorter than this.
	prefetchQuiet = 3 * time.Second
)

// Prefetch fetches chunks into the cache in the order of their indices in order, or all in the order of the root if
// that is nil, while no read waits for one. It blocks until they are there, the cache has no room for the next, or ctx
// ends, which is its only error.
func (r *Reader) Prefetch(ctx context.Context, order []int) error {
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	n := len(r.root.Chunks)
	if order != nil {
		n = len(order)
	}
	for range prefetchers {
		g.Go(func() error { // ends with the list, a full cache or ctx; Wait is below
			for {
				k := int(next.Add(1)) - 1
				if k >= n {
					return nil
				}
				if order != nil {
					k = order[k]
				}
				if k < 0 || k >= len(r.root.Chunks) {
					continue // a list of another build is only a hint
				}
				full, err := r.prefetch(ctx, r.root.Chunks[k])
				if full || err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

func (r *Reader) prefetch(ctx context.Context, c images.Chunk) (full bool, err error) {
	if c.Zero() || r.stored.has(c.Digest) {
		return false, ctx.Err()
	}
	if err := r.demand.wait(ctx, prefetchQuiet); err != nil {
		return false, err
	}
	if c.Size > r.stored.room() {
		return true, nil
	}
	_, err = r.fetch(ctx, c, false)
	return false, err
}

// Fits checks that the whole root, as it is stored, fits in the cache.
func (r *Reader) Fits() error {
	if need := r.root.Stored(); need > r.stored.bound {
		return fmt.Errorf("the root takes %d MiB of memory and %d MiB are there for it", need>>20+1, r.stored.bound>>20)
	}
	return nil
}

// Load fetches the whole root into the cache, where it stays. It blocks until that is done. progress, unless nil, is
// called after each chunk with the number of chunks present and of all; calls may come at the same time. It fails if
// the root does not fit (see Fits) or ctx ends.
func (r *Reader) Load(ctx context.Context, progress func(present, all int)) error {
	if err := r.Fits(); err != nil {
		return err
	}
	g, within := errgroup.WithContext(ctx)
	g.SetLimit(loaders)
	var present atomic.Int64
	for _, c := range r.root.Chunks {
		if within.Err() != nil {
			break
		}
		g.Go(func() error { // ends with the chunk or with ctx; Wait is below
			if !c.Zero() {
				if _, err := r.fetch(within, c, false); err != nil {
					return err
				}
			}
			if k := present.Add(1); progress != nil {
				progress(int(k), len(r.root.Chunks))
			}
			return nil
		})
	}
	err := g.Wait()
	if err == nil {
		err = ctx.Err() // the loop may have ended early
	}
	if err != nil {
		return fmt.Errorf("load the root: %w", err)
	}
	return nil
}
