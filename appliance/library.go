package appliance

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

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

// list describes all tagged images, by tag. One whose manifest cannot be read does not take the others along: it is in
// broken, by tag.
func (l *library) list() (all []wire.Image, broken map[string]error, err error) {
	broken = map[string]error{}
	tags, err := l.store.Tags()
	if err != nil {
		return nil, nil, err
	}
	add := func(tag string, d images.Digest, from images.BlobReader, history int) {
		m, err := images.ReadManifest(from, d)
		if err != nil {
			broken[tag] = err
			return
		}
		all = append(all, wire.ImageOf(tag, d, m, history))
	}
	for _, tag := range tags {
		history, err := l.store.History(tag)
		if err != nil {
			broken[tag] = err
			continue
		}
		add(tag, history[len(history)-1], l, len(history))
	}
	if l.pack != nil {
		for tag, d := range l.pack.Tags() {
			if !slices.Contains(tags, tag) {
				add(tag, d, l.pack, 1)
			}
		}
	}
	slices.SortFunc(all, func(a, b wire.Image) int { return strings.Compare(a.Tag, b.Tag) })
	return all, broken, nil
}

// defaultImage is what nodes run that name no image, as long as the settings name none either: the one worker image
// that is here, if there is exactly one.
func (l *library) defaultImage() string {
	all, _, err := l.list()
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
