package appliance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"masthead/images"
	"masthead/node/wire"
)

// bring fetches what is missing, first what the tags mean now and then what they meant before. It reports whether all
// is here.
func (k *keeper) bring(ctx context.Context) bool {
	h, l := k.head, k.head.library
	tags := l.state.tags()
	names := slices.Sorted(maps.Keys(tags))
	all, here := true, map[images.Digest]bool{}
	get := func(name string, v wire.ImageVersion, now bool) {
		if here[v.Digest] || ctx.Err() != nil {
			return
		}
		began := time.Now()
		moved, err := l.bring(ctx, name, v)
		here[v.Digest] = err == nil
		if err == nil {
			delete(k.stuck, v.Digest)
			if moved > 0 {
				h.reg.Event(wire.Event{Time: time.Now(), Kind: "image", Text: fmt.Sprintf("image %s, %s, is here: %s from other heads in %.1f s",
					name, v.Digest.Short(), sizeText(moved), time.Since(began).Seconds())})
			}
			return
		}
		lost := l.lost(err)
		if lost && !now && !l.elsewhere() { // what came from a medium that is gone: nobody can be asked for it
			l.setProgress(wire.Fetching{Digest: v.Digest})
			return
		}
		all = false
		if lost && now {
			h.succeed(ctx, name)
		}
		if ctx.Err() == nil && !errors.Is(err, errUnwanted) && time.Since(k.stuck[v.Digest]) > tellAgain {
			if k.stuck == nil {
				k.stuck = map[images.Digest]time.Time{}
			}
			k.stuck[v.Digest] = time.Now()
			h.reg.Event(wire.Event{Time: time.Now(), Kind: "image", Failed: true, Text: fmt.Sprintf("image %s is not all here: %v", name, err)})
		}
	}
	for _, name := range names {
		if v, ok := tags[name].Now(); ok {
			get(name, v, true)
			if here[v.Digest] {
				h.mirror(name, tags[name])
			}
		}
	}
	for _, name := range names {
		if _, ok := tags[name].Now(); ok {
			for _, v := range slices.Backward(tags[name].Versions) {
				get(name, v, false)
			}
		}
	}
	l.forgetProgress(here)
	return all
}

var errUnwanted = errors.New("it was removed meanwhile")

// bring fetches what of one image is not here, and says how much that was. Blobs are independent: after a crash it goes
// on where it was.
func (l *library) bring(ctx context.Context, tag string, v wire.ImageVersion) (moved int64, err error) {
	manifest := images.Blob{Digest: v.Digest, Size: v.Bytes}
	if !l.has(manifest) {
		l.setProgress(wire.Fetching{Tag: tag, Digest: v.Digest, Total: v.Bytes})
		if err := l.getOne(ctx, manifest); err != nil {
			return 0, l.waits(v.Digest, err)
		}
		moved = v.Bytes
	}
	m, err := images.ReadManifest(&l.shelf, v.Digest)
	if err != nil && !l.shared {
		// Damaged: the next look finds it missing.
		if _, aside := l.store.SetAside(v.Digest); aside == nil {
			err = l.getOne(ctx, manifest)
			if err == nil {
				m, err = images.ReadManifest(&l.shelf, v.Digest)
			}
		}
	}
	if err != nil {
		return 0, l.waits(v.Digest, err)
	}
	missing := slices.DeleteFunc(m.Blobs(), l.has)
	if len(missing) == 0 {
		l.setProgress(wire.Fetching{Digest: v.Digest})
		return moved, nil
	}
	p := wire.Fetching{Tag: tag, Digest: v.Digest}
	for _, b := range missing {
		p.Total += b.Size
	}
	l.setProgress(p)
	if err = l.room(p.Total); err == nil {
		err = l.bringBlobs(ctx, v.Digest, missing)
	}
	if err == nil {
		err = l.store.Sync()
	}
	if err != nil {
		return 0, l.waits(v.Digest, err)
	}
	l.setProgress(wire.Fetching{Digest: v.Digest})
	return moved + p.Total, nil
}

// tooManyMissing ends an attempt: what else is of an image that nobody has need not be asked for.
const tooManyMissing = 16

func (l *library) bringBlobs(ctx context.Context, image images.Digest, missing []images.Blob) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(fetchAtOnce)
	absent := make(chan error, tooManyMissing)
	for i, b := range missing {
		if ctx.Err() != nil {
			break
		}
		if i%64 == 0 {
			if _, still := l.images()[image]; !still {
				g.Go(func() error { return errUnwanted })
				break
			}
		}
		g.Go(func() error {
			err := l.getOne(ctx, b)
			if errors.Is(err, images.ErrNotFound) {
				select {
				case absent <- err: // the rest may be somewhere
					return nil
				default:
				}
			}
			if err == nil {
				l.advance(image, b.Size)
			}
			return err
		})
	}
	err := g.Wait()
	select {
	case first := <-absent:
		return first
	default:
		return err
	}
}

func (l *library) getOne(ctx context.Context, b images.Blob) error {
	if l.store.Revive(b.Digest) && l.has(b) {
		return nil
	}
	return l.fetch.Get(ctx, b)
}

func (l *library) setProgress(p wire.Fetching) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.Total == 0 {
		delete(l.progress, p.Digest)
		return
	}
	l.progress[p.Digest] = p
}

func (l *library) advance(d images.Digest, n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p, ok := l.progress[d]; ok {
		p.Done += n
		l.progress[d] = p
	}
}

// waits notes why an image does not come.
func (l *library) waits(d images.Digest, err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p, ok := l.progress[d]; ok {
		p.Waits = err.Error()
		l.progress[d] = p
	}
	return err
}

// forgetProgress forgets images that are needed no more.
func (l *library) forgetProgress(needed map[images.Digest]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.progress, func(d images.Digest, _ wire.Fetching) bool { _, ok := needed[d]; return !ok })
}

// fetching lists the images that are on their way here, for the status.
func (h *Head) fetching() []wire.Fetching {
	h.library.mu.Lock()
	defer h.library.mu.Unlock()
	return slices.SortedFunc(maps.Values(h.library.progress), func(a, b wire.Fetching) int {
		return strings.Compare(a.Tag+string(a.Digest), b.Tag+string(b.Digest))
	})
}
