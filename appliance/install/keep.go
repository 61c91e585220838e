package install

import (
	"context"
	"errors"
	"fmt"

	"masthead/images"
)

// What a head serves may lie on its medium alone, which for an installed head is the slot that it runs from. An upgrade
// takes that away, so what the new ISO does not have is kept in the head's store first.

// LeftBehind are the blobs of images that only the pack that runs has: they are neither in the next one nor in the store.
// An image whose manifest is nowhere here comes from another head, and is not looked at.
func LeftBehind(wanted []images.Digest, now, next *images.Pack, store *images.Store) []images.Blob {
	has := map[images.Digest]bool{}
	for _, b := range next.Blobs() {
		has[b.Digest] = true
	}
	sizes := map[images.Digest]int64{}
	for _, b := range now.Blobs() {
		sizes[b.Digest] = b.Size
	}
	var left []images.Blob
	add := func(d images.Digest) {
		b := images.Blob{Digest: d, Size: sizes[d]}
		if size, here := sizes[d]; here && size > 0 && !has[d] && !store.Has(b) {
			has[d] = true
			left = append(left, b)
		}
	}
	for _, d := range wanted {
		m, err := images.ReadManifest(now, d)
		if err != nil {
			continue
		}
		add(d)
		for _, b := range m.Blobs() {
			add(b.Digest)
		}
	}
	return left
}

// Keep copies blobs from the pack that runs into the store, verified.
func Keep(ctx context.Context, blobs []images.Blob, now *images.Pack, store *images.Store, p Progress) error {
	var done, total int64
	for _, b := range blobs {
		total += b.Size
	}
	for _, b := range blobs {
		if err := ctx.Err(); err != nil {
			return err
		}
		r, _, err := now.Open(b.Digest)
		if err == nil {
			_, err = store.PutVerified(r, b.Digest)
			err = errors.Join(err, r.Close())
		}
		if err != nil {
			return fmt.Errorf("keep an image of the medium: %w", err)
		}
		done += b.Size
		p("keep images", done, total)
	}
	return nil
}
