package appliance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"masthead/appliance/fetch"
	"masthead/appliance/state"
	"masthead/images"
	"masthead/node/wire"
)

// What the store or the medium of a head has under a tag of the state is no update by itself (note). It becomes one where
// what the tag means is lost: a head without others that was started from a new medium has nothing else to boot.

// offer is an image that the store or the medium of this head has under a tag.
type offer struct {
	digest images.Digest
	where  string // the store, the medium
}

// offers are the images of this head under a tag, apart from what the tag means now.
func (l *library) offers(name string, now images.Digest) []offer {
	var all []offer
	if d, err := l.store.Resolve(name); err == nil && d != now {
		all = append(all, offer{d, "store"})
	}
	if l.pack != nil {
		if d, ok := l.pack.Tags()[name]; ok && d != now {
			all = append(all, offer{d, "medium"})
		}
	}
	return all
}

func meant(tag wire.ImageTag, d images.Digest) bool {
	return slices.ContainsFunc(tag.Versions, func(v wire.ImageVersion) bool { return v.Digest == d })
}

// successor chooses what a tag shall mean whose image is lost: what it has never meant comes first. Where only parts are
// lost nothing else is good enough, since to go back is for an administrator to decide.
func successor(tag wire.ImageTag, offers []offer, onlyParts bool) (offer, bool) {
	for _, o := range offers {
		if !meant(tag, o.digest) {
			return o, true
		}
	}
	if len(offers) == 0 || onlyParts {
		return offer{}, false
	}
	return offers[0], true
}

// lost reports whether an image did not come because it is nowhere. A head that does not answer may have it.
func (l *library) lost(err error) bool {
	var missing *fetch.MissingError
	if errors.As(err, &missing) {
		return missing.Nowhere()
	}
	return errors.Is(err, images.ErrNotFound) && !l.elsewhere()
}

// succeed makes a tag whose image is lost mean what this head has under it, if that is whole.
func (h *Head) succeed(ctx context.Context, name string) {
	tag, at, err := h.tagRecord(name)
	now, ok := tag.Now()
	if err != nil || !ok {
		return
	}
	l := h.library
	l.gate.RLock() // nothing is cleared away between the look and the change
	defer l.gate.RUnlock()
	whole := slices.DeleteFunc(l.offers(name, now.Digest), func(o offer) bool { return len(l.lacking(o.digest)) > 0 })
	_, err = images.ReadManifest(&l.shelf, now.Digest)
	next, ok := successor(tag, whole, err == nil)
	if !ok {
		return
	}
	v, err := h.version(next.digest, next.where+" of "+h.cfg.Name)
	if err != nil {
		return // it was whole just now: the next look tells
	}
	tag.Versions = append(tag.Versions, v)
	if n := len(tag.Versions); n > maxImageVersions {
		tag.Versions = tag.Versions[n-maxImageVersions:]
	}
	op, err := state.Put(state.KindTag, name, tag)
	if err == nil {
		_, err = h.store().Apply(ctx, ownOrigin, op.At(at))
	}
	switch {
	case err == nil:
		h.reg.Event(wire.Event{Time: time.Now(), Kind: "image", Text: fmt.Sprintf("image %s: %s → %s, which the %s of %s has: the old one is nowhere any more",
			name, now.Digest.Short(), v.Digest.Short(), next.where, h.cfg.Name)})
	case !errors.Is(err, state.ErrConflict) && h.db.ReadOnly() == nil && ctx.Err() == nil:
		h.log.Warn("an image that is lost was not replaced by that of this head", "tag", name, "err", err)
	}
}

// brokenImage is one that cannot be used, with why.
type brokenImage struct {
	wire.Image
	err error
}

// broken describes an image that cannot be used, as far as the state knows it.
func (l *library) broken(name string, tag wire.ImageTag, err error) brokenImage {
	v, _ := tag.Now()
	image := v.Image(name, len(tag.Versions))
	image.Missing = l.lacks(v)
	help := fmt.Sprintf("import it again, or: masthead image rm %s", name)
	if offers := l.offers(name, v.Digest); len(offers) > 0 {
		help = offers[0].note(name)
	}
	image.Note = fmt.Sprintf("cannot be used: %v; %s", err, help)
	return brokenImage{image, err}
}

func (o offer) note(name string) string {
	return fmt.Sprintf("the %s of this head has %s: masthead image tag %s %s", o.where, o.digest.Short(), o.digest, name)
}
