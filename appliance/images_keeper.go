package appliance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"masthead/appliance/state"
	"masthead/images"
	"masthead/node/wire"
)

// keeper brings the images of the cluster here and removes what is no longer needed. It belongs to one goroutine.
type keeper struct {
	head    *Head
	scanned bool // what nothing refers to was set aside
	collect bool // an image was removed while this head ran
	release func()
	stuck   map[images.Digest]time.Time // images that do not come: when that was last told
}

// keepImages follows the tags of the state until ctx ends.
func (h *Head) keepImages(ctx context.Context) error {
	w := h.db.Watch(state.KindTag)
	defer w.Close()
	k := &keeper{head: h, scanned: h.library.shared}
	defer k.drop()
	for ctx.Err() == nil {
		wait := lookAgain
		if h.serves() {
			k.hold()
			h.publishTags(ctx)
			if !k.bring(ctx) {
				wait = retryFetch
			}
			k.tidy(ctx)
		} else {
			wait = retryFetch
		}
		if ctx.Err() != nil {
			break
		}
		next, cancel := context.WithTimeout(ctx, wait)
		changed, err := w.Next(next)
		cancel()
		if err == nil {
			k.note(changed)
		}
	}
	return ctx.Err()
}

// note looks at what has changed: an image that was removed while this head ran goes; one that was removed while it was
// off is set aside (seed 000).
func (k *keeper) note(changed []state.Record) {
	for _, rec := range changed {
		if !rec.Deleted {
			if tag, err := state.Decode[wire.ImageTag](rec); err != nil || tag.Removed.IsZero() {
				continue
			}
		}
		if rec.Version.HLC.Time().Before(k.head.started) {
			k.scanned = k.head.library.shared
		} else {
			k.collect = true
		}
		k.head.untag(rec.Key.Name)
	}
}

// hold keeps other programs from collecting garbage in this store: they do not know the state.
func (k *keeper) hold() {
	if k.release == nil {
		if release, err := k.head.library.store.Hold(); err == nil {
			k.release = release
		}
	}
}

func (k *keeper) drop() {
	if k.release != nil {
		k.release()
		k.release = nil
	}
}

// untag takes a removed tag out of the store.
func (h *Head) untag(tag string) {
	if h.library.shared {
		return
	}
	if err := h.library.store.Untag(tag); err != nil && !errors.Is(err, images.ErrNotFound) {
		h.log.Warn("a removed tag stays in the store", "tag", tag, "err", err)
	}
}

// publishTags enters the tags of this head's store and medium that the state has never had.
func (h *Head) publishTags(ctx context.Context) {
	publish := func(name string, history []images.Digest, source string) {
		if h.hadTag(name) {
			return
		}
		var tag wire.ImageTag
		for _, d := range history {
			if v, err := h.version(d, source); err == nil {
				tag.Versions = append(tag.Versions, v)
			} else if d == history[len(history)-1] {
				return // it cannot be used; images() says so
			}
		}
		op, err := state.Put(state.KindTag, name, tag)
		if err == nil {
			_, err = h.store().Apply(ctx, ownOrigin, op.At(state.Version{}))
		}
		if err != nil && !errors.Is(err, state.ErrConflict) && h.db.ReadOnly() == nil && ctx.Err() == nil {
			h.log.Warn("an image could not be entered into the state", "tag", name, "err", err)
		}
	}
	tags, err := h.library.store.Tags()
	if err != nil {
		h.log.Warn("images of the store", "err", err)
	}
	live := h.imageTags()
	for _, name := range tags {
		if _, ok := live[name].Now(); !ok && h.hadTag(name) {
			h.untag(name) // it was removed while this head was off
			continue
		}
		if history, err := h.library.store.History(name); err == nil {
			publish(name, history, "store of "+h.cfg.Name)
		}
	}
	if h.library.pack != nil {
		packed := h.library.pack.Tags()
		for _, name := range slices.Sorted(maps.Keys(packed)) {
			publish(name, []images.Digest{packed[name]}, "medium of "+h.cfg.Name)
		}
	}
}

// version describes an image that is here.
func (h *Head) version(d images.Digest, source string) (wire.ImageVersion, error) {
	data, err := images.ReadBlob(&h.library.shelf, d, images.MaxManifestSize)
	if err != nil {
		return wire.ImageVersion{}, err
	}
	m, err := images.DecodeManifest(data)
	if err != nil {
		return wire.ImageVersion{}, err
	}
	return wire.VersionOf(d, m, int64(len(data)), source, time.Now()), nil
}

// mirror gives the store the tag that the state has, so that commands which look at the store alone know what is used.
// What somebody has built there and not published stays.
func (h *Head) mirror(name string, tag wire.ImageTag) {
	v, _ := tag.Now()
	has, err := h.library.store.Resolve(name)
	ours := slices.ContainsFunc(tag.Versions, func(old wire.ImageVersion) bool { return old.Digest == has })
	if h.library.shared || err == nil && (!ours || has == v.Digest) {
		return
	}
	if _, err := h.library.store.Manifest(v.Digest); err != nil {
		return // it lies on the medium
	}
	if err := h.library.store.Tag(name, v.Digest); err != nil {
		h.log.Warn("a tag was not entered into the store", "tag", name, "err", err)
	}
}

// tidy sets aside what nothing refers to, once after the start, and removes what images that were removed since have
// left.
func (k *keeper) tidy(ctx context.Context) {
	h, l := k.head, k.head.library
	if l.shared {
		k.collect = false
	}
	if k.scanned && !k.collect || ctx.Err() != nil || l.busy() {
		return
	}
	l.gate.Lock()
	defer l.gate.Unlock()
	k.drop() // it would keep us out too
	defer k.hold()
	roots := l.needed()
	if !k.scanned {
		report, err := l.store.Scan(ctx, roots, false)
		if err != nil {
			if !errors.Is(err, images.ErrBusy) && ctx.Err() == nil {
				h.log.Warn("the image store was not looked through", "err", err)
			}
			return
		}
		h.tellAside(report)
		if slices.ContainsFunc(roots.Images, func(d images.Digest) bool { return slices.Contains(report.Missing, d) }) {
			return // nothing was judged unreferenced: again when all manifests are here
		}
		k.scanned = true
	}
	if k.collect {
		freed, err := l.store.Collect(roots)
		if err != nil {
			if !errors.Is(err, images.ErrBusy) && !errors.Is(err, images.ErrNotFound) {
				h.log.Warn("removed images were not cleared away", "err", err)
			}
			return
		}
		k.collect = false
		if freed > 0 {
			h.reg.Event(wire.Event{Time: time.Now(), Kind: "image", Text: fmt.Sprintf("%s freed: images that were removed", sizeText(freed))})
		}
	}
}

// busy reports whether an administrator is sending an image: its blobs have no tag yet.
func (l *library) busy() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Since(l.uploaded) < uploadTime
}

// tellAside makes events of what a scan has set aside.
func (h *Head) tellAside(report images.ScanReport) {
	sum := func(list []images.Old) (n int64) {
		for _, o := range list {
			n += o.Size
		}
		return n
	}
	tell := func(failed bool, format string, args ...any) {
		h.reg.Event(wire.Event{Time: time.Now(), Kind: "image", Failed: failed, Text: fmt.Sprintf(format, args...)})
	}
	if n := len(report.Unreferenced); n > 0 {
		tell(false, "%d blobs that no image uses were set aside (.old.NN), %s: masthead image old", n, sizeText(sum(report.Unreferenced)))
	}
	if n := len(report.Wrong); n > 0 {
		tell(true, "%d damaged blobs were set aside (.old.NN), %s: check the disk; masthead image old", n, sizeText(sum(report.Wrong)))
	}
	if n := len(report.Full); n > 0 {
		tell(true, "%d blobs cannot be set aside, .old.00 to .old.99 are taken: masthead image old --remove", n)
	}
}
