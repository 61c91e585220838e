package appliance

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"masthead/images"
	"masthead/node/wire"
)

// library is all images that a head can serve: those of its store and those of the medium that it booted from. The
// medium is read in place, so a head without a disk serves what it carries.
type library struct {
	store *images.Store
	pack  *images.Pack // nil: none
}

// Open implements images.BlobReader.
func (l *library) Open(d images.Digest) (io.ReadCloser, int64, error) {
	r, size, err := l.store.Open(d)
	if errors.Is(err, images.ErrNotFound) && l.pack != nil {
		return l.pack.Open(d)
	}
	return r, size, err
}

// resolve turns a tag or a digest into the digest of an image that is here. A tag of the store wins over one of the
// medium: it is the newer word.
func (l *library) resolve(ref string) (images.Digest, error) {
	d, err := l.store.Resolve(ref)
	if errors.Is(err, images.ErrNotFound) && l.pack != nil {
		if packed, ok := l.pack.Tags()[ref]; ok {
			d, err = packed, nil
		}
	}
	if err != nil {
		return "", fmt.Errorf("image %s: %w", ref, err)
	}
	if _, err := images.ReadManifest(l, d); err != nil {
		return "", fmt.Errorf("image %s: %w", ref, err)
	}
	return d, nil
}

// list describes all tagged images, by tag.
func (l *library) list() ([]wire.Image, error) {
	all, err := wire.ImagesOf(l.store)
	if err != nil {
		return nil, err
	}
	if l.pack != nil {
		for tag, d := range l.pack.Tags() {
			if slices.ContainsFunc(all, func(i wire.Image) bool { return i.Tag == tag }) {
				continue
			}
			m, err := images.ReadManifest(l.pack, d)
			if err != nil {
				return nil, fmt.Errorf("image %s of the medium: %w", tag, err)
			}
			all = append(all, wire.ImageOf(tag, d, m, 1))
		}
	}
	slices.SortFunc(all, func(a, b wire.Image) int {
		if a.Tag < b.Tag {
			return -1
		}
		return 1
	})
	return all, nil
}

// defaultImage is what nodes run that name no image, as long as the settings name none either: the one worker image
// that is here, if there is exactly one.
func (l *library) defaultImage() string {
	all, err := l.list()
	if err != nil {
		return ""
	}
	var workers []string
	for _, i := range all {
		if i.Role == images.RoleWorker {
			workers = append(workers, i.Tag)
		}
	}
	if len(workers) != 1 {
		return ""
	}
	return workers[0]
}
