package appliance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"masthead/appliance/fetch"
	"masthead/images"
	"masthead/node/wire"
)

// shelf is where the blobs of images lie on this head: in its store, and on the medium that it booted from. The medium
// is read in place, so a head without a disk serves what it carries.
type shelf struct {
	store *images.Store
	pack  *images.Pack // nil: none
}

// Open implements images.BlobReader. It asks nobody else.
func (s *shelf) Open(d images.Digest) (io.ReadCloser, int64, error) {
	r, size, err := s.store.Open(d)
	if errors.Is(err, images.ErrNotFound) && s.pack != nil {
		return s.pack.Open(d)
	}
	return r, size, err
}

// has reports whether a blob is here. A size of 0 is one that is not known.
func (s *shelf) has(b images.Blob) bool {
	if b.Size > 0 && s.store.Has(b) {
		return true
	}
	if s.pack != nil {
		if r, size, err := s.pack.Open(b.Digest); err == nil {
			r.Close()
			return b.Size <= 0 || b.Size == size
		}
	}
	if b.Size > 0 {
		return false
	}
	r, _, err := s.store.Open(b.Digest)
	if err == nil {
		r.Close()
	}
	return err == nil
}

// library is all images of the cluster as this head can serve them. What a tag means, the state says; the tags of the
// store and of the medium count only as long as the state has never had them (publishTags). A blob that is not here is
// fetched from another head when it is asked for.
type library struct {
	shelf
	state  tagState
	fetch  *fetch.Fetcher
	shared bool // the store is one folder of all heads: nothing in it is moved or removed
	// roots are the images that are needed besides those that tags name: what nodes run, and digests that are set.
	roots func() []images.Digest

	// gate is held for reading while blobs are written, and for writing while unneeded ones are removed.
	gate sync.RWMutex

	mu       sync.Mutex
	indexes  map[images.Digest]map[images.Digest]int64 // by manifest: its blobs and their sizes
	progress map[images.Digest]wire.Fetching           // of what is not here
	uploaded time.Time                                 // when an administrator last sent a blob
}

// tagState is what the library asks the state.
type tagState struct {
	tags func() map[string]wire.ImageTag // those removed too
	had  func(tag string) bool           // the state has had it, if only as a tombstone
}

func newLibrary(store *images.Store, state tagState) *library {
	return &library{
		shelf: shelf{store: store}, state: state, roots: func() []images.Digest { return nil },
		indexes: map[images.Digest]map[images.Digest]int64{}, progress: map[images.Digest]wire.Fetching{},
	}
}

// fetchWait is how long somebody who asks for a blob waits for the first byte of it from another head.
const fetchWait = 30 * time.Second

// Open implements images.BlobReader. What is not here and belongs to an image of the cluster comes from another head,
// verified while it is read.
func (l *library) Open(d images.Digest) (io.ReadCloser, int64, error) {
	r, size, err := l.shelf.Open(d)
	if !errors.Is(err, images.ErrNotFound) || l.fetch == nil {
		return r, size, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), fetchWait)
	defer cancel()
	b, wanted := l.wanted(ctx, d)
	if !wanted {
		return nil, 0, err
	}
	if l.store.Revive(d) {
		return l.store.Open(d)
	}
	return l.fetch.Open(ctx, b)
}

// images is every image that a tag means or has meant, by its manifest's digest.
func (l *library) images() map[images.Digest]wire.ImageVersion {
	all := map[images.Digest]wire.ImageVersion{}
	for _, tag := range l.state.tags() {
		if tag.Removed.IsZero() {
			for _, v := range tag.Versions {
				all[v.Digest] = v
			}
		}
	}
	return all
}

// wanted reports whether a blob belongs to an image that is needed, and its size if that is known. For an image whose
// manifest is not here yet that is fetched.
func (l *library) wanted(ctx context.Context, d images.Digest) (images.Blob, bool) {
	tagged := l.images()
	if v, ok := tagged[d]; ok {
		return images.Blob{Digest: d, Size: v.Bytes}, true
	}
	if b, ok := l.within(ctx, d, tagged); ok {
		return b, true
	}
	others := map[images.Digest]wire.ImageVersion{}
	for _, root := range l.roots() {
		if _, twice := tagged[root]; !twice {
			others[root] = wire.ImageVersion{Digest: root}
		}
	}
	if _, ok := others[d]; ok {
		return images.Blob{Digest: d}, true
	}
	return l.within(ctx, d, others)
}

// within looks for a blob in images, first in those whose manifests are here.
func (l *library) within(ctx context.Context, d images.Digest, list map[images.Digest]wire.ImageVersion) (images.Blob, bool) {
	var unknown []images.Blob
	for root, v := range list {
		index, ok := l.index(root)
		if !ok {
			unknown = append(unknown, images.Blob{Digest: root, Size: v.Bytes})
		} else if size, ok := index[d]; ok {
			return images.Blob{Digest: d, Size: size}, true
		}
	}
	for _, root := range unknown {
		if l.fetch.Get(ctx, root) != nil {
			continue
		}
		if index, ok := l.index(root.Digest); ok {
			if size, ok := index[d]; ok {
				return images.Blob{Digest: d, Size: size}, true
			}
		}
	}
	return images.Blob{}, false
}

// index is what an image whose manifest is here consists of.
func (l *library) index(root images.Digest) (map[images.Digest]int64, bool) {
	l.mu.Lock()
	index, ok := l.indexes[root]
	l.mu.Unlock()
	if ok {
		return index, true
	}
	m, err := images.ReadManifest(&l.shelf, root)
	if err != nil {
		return nil, false
	}
	index = map[images.Digest]int64{}
	for _, b := range m.Blobs() {
		index[b.Digest] = b.Size
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.indexes) >= maxIndexes {
		clear(l.indexes)
	}
	l.indexes[root] = index
	return index, true
}

// maxIndexes bounds the memory for indexes: about 100 KB for an image of 300 MB.
const maxIndexes = 256

// spare is what is left free on the disk of the store: the state lies there too, and must take a change that makes room.
const spare = 64 << 20

// room reports whether size bytes fit, with fetch.ErrFull where they do not.
func (l *library) room(size int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(l.store.Dir(), &st); err != nil {
		return nil // the write will tell
	}
	if free := int64(st.Bavail) * st.Bsize; free < size+min(spare, int64(st.Blocks)*st.Bsize/10) {
		return fmt.Errorf("%s needed, %s free: %w", sizeText(size), sizeText(free), fetch.ErrFull)
	}
	return nil
}

// put stores a blob that has the digest d.
func (l *library) put(r io.Reader, d images.Digest) error {
	l.gate.RLock()
	defer l.gate.RUnlock()
	if err := l.room(0); err != nil {
		return errors.Join(err, unix.ENOSPC)
	}
	_, err := l.store.PutVerified(r, d)
	return err
}

// resolve turns a tag or a digest into the digest of an image that can be served from here.
func (l *library) resolve(ref string) (images.Digest, error) {
	d, err := l.meaning(ref)
	if err == nil {
		err = l.usable(d)
	}
	if err != nil {
		return "", fmt.Errorf("image %s: %w", ref, err)
	}
	return d, nil
}

// meaning is what a tag or a digest means, whether that is here or not.
func (l *library) meaning(ref string) (images.Digest, error) {
	if d, err := images.ParseDigest(ref); err == nil {
		return d, nil
	}
	if tag, ok := l.state.tags()[ref]; ok {
		if v, ok := tag.Now(); ok {
			return v.Digest, nil
		}
		return "", images.ErrNotFound
	}
	if l.state.had(ref) {
		return "", images.ErrNotFound
	}
	d, err := l.store.Resolve(ref)
	if errors.Is(err, images.ErrNotFound) && l.pack != nil {
		if packed, ok := l.pack.Tags()[ref]; ok {
			return packed, nil
		}
	}
	return d, err
}

// usable is nil for an image that is here or that other heads may have.
func (l *library) usable(d images.Digest) error {
	_, err := l.role(d)
	return err
}

// role is what an image is for, if it is usable.
func (l *library) role(d images.Digest) (images.Role, error) {
	m, err := images.ReadManifest(&l.shelf, d)
	if err == nil {
		return m.Role, nil
	}
	if v, tagged := l.images()[d]; tagged && l.elsewhere() {
		return v.Role, nil
	}
	return "", err
}

// elsewhere reports whether there are other heads to ask.
func (l *library) elsewhere() bool { return l.fetch != nil && l.fetch.HasPeers() }

// list describes all tagged images that can be used, by tag. One that cannot does not take the others along: it is in
// broken.
func (l *library) list() (all []wire.Image, broken []brokenImage, err error) {
	for name, tag := range l.state.tags() {
		v, ok := tag.Now()
		if !ok {
			continue
		}
		if err := l.usable(v.Digest); err != nil {
			broken = append(broken, l.broken(name, tag, err))
			continue
		}
		image := v.Image(name, len(tag.Versions))
		image.Missing, image.Note = l.lacks(v), l.note(name, tag)
		all = append(all, image)
	}
	tags, err := l.store.Tags()
	if err != nil {
		return nil, nil, err
	}
	add := func(tag string, history ...images.Digest) {
		d := history[len(history)-1]
		m, err := images.ReadManifest(&l.shelf, d)
		if err != nil {
			broken = append(broken, l.broken(tag, wire.ImageTag{Versions: []wire.ImageVersion{{Digest: d}}}, err))
			return
		}
		all = append(all, wire.ImageOf(tag, d, m, len(history)))
	}
	for _, tag := range tags {
		if l.state.had(tag) {
			continue
		}
		history, err := l.store.History(tag)
		if err != nil {
			broken = append(broken, l.broken(tag, wire.ImageTag{}, err))
			continue
		}
		add(tag, history...)
	}
	if l.pack != nil {
		for tag, d := range l.pack.Tags() {
			if !slices.Contains(tags, tag) && !l.state.had(tag) {
				add(tag, d)
			}
		}
	}
	slices.SortFunc(all, byTag)
	return all, broken, nil
}

func byTag(a, b wire.Image) int { return strings.Compare(a.Tag, b.Tag) }

// note says where the store or the medium of this head has another image under a tag of the state. That is no update by
// itself: a head that was started from an old medium must not undo one.
func (l *library) note(name string, tag wire.ImageTag) string {
	for _, o := range l.offers(name, "") {
		if !meant(tag, o.digest) {
			return o.note(name)
		}
	}
	return ""
}

// lacks is how many bytes of an image are known to be missing here.
func (l *library) lacks(v wire.ImageVersion) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p, ok := l.progress[v.Digest]; ok {
		return p.Total - p.Done
	}
	if !l.has(images.Blob{Digest: v.Digest, Size: v.Bytes}) {
		return v.Stored
	}
	return 0
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
