package appliance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"masthead/appliance/fetch"
	"masthead/appliance/state"
	"masthead/images"
	"masthead/node/wire"
)

// tagRecord is a tag of the state with the version of its record; zero where there is none.
func (h *Head) tagRecord(tag string) (wire.ImageTag, state.Version, error) {
	rec, err := h.db.Get(state.Key{Kind: state.KindTag, Name: tag})
	if errors.Is(err, state.ErrNotFound) {
		return wire.ImageTag{}, state.Version{}, nil
	}
	if err != nil {
		return wire.ImageTag{}, state.Version{}, err
	}
	t, err := state.Decode[wire.ImageTag](rec)
	return t, rec.Version, err
}

func noTag(tag string) error {
	return &problem{http.StatusNotFound, "no image " + tag, "masthead image list"}
}

func (a *api) imageTag(_ context.Context, _ caller, r *http.Request) (any, error) {
	name := r.PathValue("tag")
	t, _, err := a.head.tagRecord(name)
	if err != nil {
		return nil, err
	}
	if _, ok := t.Now(); !ok {
		return nil, noTag(name)
	}
	return t, nil
}

func (a *api) tagImage(ctx context.Context, c caller, r *http.Request) (any, error) {
	ch, err := decode[wire.ImageChange](r)
	if err != nil {
		return nil, err
	}
	name := r.PathValue("tag")
	if err := images.ValidName(name); err != nil {
		return nil, &problem{http.StatusBadRequest, "tag " + err.Error(), ""}
	}
	d, err := a.head.library.meaning(ch.Image)
	if err != nil {
		return nil, &problem{http.StatusNotFound, fmt.Sprintf("image %s: %v", ch.Image, err), "masthead image list"}
	}
	// Nothing is cleared away between the look and the change.
	a.head.library.gate.RLock()
	defer a.head.library.gate.RUnlock()
	v, err := a.head.version(d, ch.Source)
	if err != nil {
		known, ok := a.head.library.images()[d]
		if !ok || !a.head.library.elsewhere() {
			return nil, &problem{http.StatusNotFound, fmt.Sprintf("image %s: %v", ch.Image, err), "masthead image list"}
		}
		v = known // another head has it
	} else if _, tagged := a.head.library.images()[d]; !tagged {
		if lacking := a.head.library.lacking(d); len(lacking) > 0 {
			return nil, &problem{http.StatusConflict, fmt.Sprintf("image %s is not whole here: %d blobs are missing, the first is %s", d.Short(), len(lacking), lacking[0].Digest),
				"import it again: masthead image import FILE"}
		}
		if err := a.head.library.store.Sync(); err != nil {
			return nil, err
		}
	}
	v.Time = a.now().UTC().Truncate(time.Second)
	if ch.Source != "" {
		v.Source = ch.Source
	}
	return a.head.changeTag(ctx, c.origin(), name, ch.DryRun, func(t wire.ImageTag) (wire.ImageTag, error) {
		if now, ok := t.Now(); ok && now.Digest == v.Digest {
			return t, nil
		} else if !ok {
			t = wire.ImageTag{}
		}
		t.Versions = append(t.Versions, v)
		return t, nil
	})
}

func (a *api) rollbackImage(ctx context.Context, c caller, r *http.Request) (any, error) {
	ch, err := decode[wire.ImageChange](r)
	if err != nil {
		return nil, err
	}
	name := r.PathValue("tag")
	return a.head.changeTag(ctx, c.origin(), name, ch.DryRun, func(t wire.ImageTag) (wire.ImageTag, error) {
		if _, ok := t.Now(); !ok {
			return t, noTag(name)
		}
		if len(t.Versions) < 2 {
			return t, &problem{http.StatusConflict, "image " + name + " has had only one version", "masthead image show " + name}
		}
		before := t.Versions[len(t.Versions)-2]
		if err := a.head.library.usable(before.Digest); err != nil {
			return t, &problem{http.StatusConflict, fmt.Sprintf("image %s: its version before, %s, cannot be used: %v", name, before.Digest.Short(), err),
				"masthead image import FILE"}
		}
		before.Time = a.now().UTC().Truncate(time.Second)
		t.Versions = append(t.Versions, before)
		return t, nil
	})
}

func (a *api) removeImage(ctx context.Context, c caller, r *http.Request) (any, error) {
	name := r.PathValue("tag")
	return a.head.changeTag(ctx, c.origin(), name, r.URL.Query().Has("dry_run"), func(t wire.ImageTag) (wire.ImageTag, error) {
		if _, ok := t.Now(); !ok {
			return t, noTag(name)
		}
		if users, try := a.head.usersOf(name); len(users) > 0 && !r.URL.Query().Has("force") {
			return t, &problem{http.StatusConflict, fmt.Sprintf("image %s is in use: %s", name, strings.Join(users, ", ")), try + "; or masthead image rm " + name + " --force"}
		}
		return wire.ImageTag{Removed: a.now().UTC().Truncate(time.Second)}, nil
	})
}

// usersOf names what boots a tag by name, the setting, groups and nodes, and the command that gives the first of them
// another image.
func (h *Head) usersOf(tag string) (users []string, try string) {
	use := func(user, command string) {
		if users = append(users, user); try == "" {
			try = command + " OTHER"
		}
	}
	switch h.reg.Settings().DefaultImage {
	case tag:
		use("by every node that names no image", "masthead head settings --default-image")
	case "":
		if n := h.withoutImage(); n > 0 && h.library.defaultImage() == tag {
			who := fmt.Sprintf("%d nodes that name", n)
			if n == 1 {
				who = "1 node that names"
			}
			use("by "+who+" no image, as the only one for workers", "masthead head settings --default-image")
		}
	}
	for _, kind := range []state.Kind{state.KindGroup, state.KindNode} {
		for _, rec := range h.db.List(kind, "") {
			if v, err := state.Decode[struct{ Image string }](rec); err != nil || v.Image != tag {
				continue
			}
			command := "masthead node set "
			if kind == state.KindGroup {
				command = "masthead node group set "
			}
			use(fmt.Sprintf("by %s %s", kind, rec.Key.Name), command+rec.Key.Name+" --image")
		}
	}
	if more := len(users) - 5; more > 0 {
		users = append(users[:5], fmt.Sprintf("and by %d more", more))
	}
	return users, try
}

// withoutImage counts the nodes for which nobody has named an image. Heads run what they booted from.
func (h *Head) withoutImage() int {
	heads, n := h.heads(), 0
	for _, rec := range h.db.List(state.KindNode, "") {
		if _, head := heads[rec.Key.Name]; head {
			continue
		}
		if node, ok := h.reg.Record(rec.Key.Name); ok && h.reg.ImageRef(node) == "" {
			n++
		}
	}
	return n
}

// changeTag makes a change of a tag, again if somebody else has changed it meanwhile.
func (h *Head) changeTag(ctx context.Context, o state.Origin, name string, dry bool, change func(wire.ImageTag) (wire.ImageTag, error)) (wire.ImageChanged, error) {
	for try := 0; ; try++ {
		before, at, err := h.tagRecord(name)
		if err != nil {
			return wire.ImageChanged{}, err
		}
		known := before
		if _, ok := before.Now(); !ok && !h.hadTag(name) { // of the store or the medium, and not in the state yet
			known = h.ownTag(name)
		}
		known.Versions = slices.Clone(known.Versions)
		after, err := change(known)
		if err != nil {
			return wire.ImageChanged{}, err
		}
		if n := len(after.Versions); n > maxImageVersions {
			after.Versions = after.Versions[n-maxImageVersions:]
		}
		old, _ := known.Now()
		now, _ := after.Now()
		changed := wire.ImageChanged{Tag: name, Old: old.Digest, New: now.Digest, Applied: !dry}
		if dry || old.Digest == now.Digest && len(before.Versions) == len(after.Versions) {
			return changed, nil
		}
		op, err := state.Put(state.KindTag, name, after)
		if err != nil {
			return wire.ImageChanged{}, err
		}
		ack, err := h.store().Apply(ctx, o, op.At(at))
		if errors.Is(err, state.ErrConflict) && try < 5 {
			continue
		}
		if err != nil {
			return wire.ImageChanged{}, fmt.Errorf("change image %s: %w", name, err)
		}
		changed.Degraded = ack.Degraded
		text := fmt.Sprintf("image %s: %s → %s (%s)", name, orNone(old.Digest), orNone(now.Digest), o.Who)
		h.reg.Event(wire.Event{Time: time.Now(), Kind: "admin", Text: text})
		h.library.sent(time.Time{})
		return changed, nil
	}
}

func orNone(d images.Digest) string {
	if d == "" {
		return "none"
	}
	return d.Short()
}

// ownTag is a tag of the store or the medium.
func (h *Head) ownTag(name string) wire.ImageTag {
	var t wire.ImageTag
	history, err := h.library.store.History(name)
	source := "store of " + h.cfg.Name
	if err != nil && h.library.pack != nil {
		if d, ok := h.library.pack.Tags()[name]; ok {
			history, source = []images.Digest{d}, "medium of "+h.cfg.Name
		}
	}
	for _, d := range history {
		if v, err := h.version(d, source); err == nil {
			t.Versions = append(t.Versions, v)
		}
	}
	return t
}

// lacking lists what of an image whose manifest is here is not.
func (l *library) lacking(d images.Digest) []images.Blob {
	m, err := images.ReadManifest(&l.shelf, d)
	if err != nil {
		return []images.Blob{{Digest: d}}
	}
	return slices.DeleteFunc(m.Blobs(), func(b images.Blob) bool { return l.has(b) || l.store.Revive(b.Digest) && l.has(b) })
}

// sent notes that an administrator sends an image, or has tagged it.
func (l *library) sent(t time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.uploaded = t
}

func (a *api) lacks(_ context.Context, _ caller, r *http.Request) (any, error) {
	d, err := pathDigest(r)
	if err != nil {
		return nil, err
	}
	if _, err := images.ReadManifest(&a.head.library.shelf, d); err != nil {
		return nil, &problem{http.StatusNotFound, fmt.Sprintf("manifest %s: %v", d.Short(), err), "send it first"}
	}
	a.head.library.sent(time.Now()) // what is here is counted on
	if list := a.head.library.lacking(d); list != nil {
		return list, nil
	}
	return []images.Blob{}, nil
}

func pathDigest(r *http.Request) (images.Digest, error) {
	d, err := images.ParseDigest(r.PathValue("digest"))
	if err != nil {
		return "", &problem{http.StatusBadRequest, err.Error(), ""}
	}
	return d, nil
}

// maxBlob bounds a blob that is sent: an initramfs or a manifest is the largest.
const maxBlob = 4 << 30

func (a *api) putBlob(w http.ResponseWriter, r *http.Request) {
	d, err := pathDigest(r)
	if err == nil {
		err = a.receive(w, r, maxBlob, func(body io.Reader) error {
			l := a.head.library
			l.sent(time.Now())
			if err := l.room(max(r.ContentLength, 0)); err != nil {
				return err
			}
			if l.has(images.Blob{Digest: d, Size: r.ContentLength}) && !l.shared {
				// It may be damaged: what was sent is right.
				if f, err := l.store.OpenChecked(images.Blob{Digest: d}); err == nil {
					f.Close()
					return nil
				}
			}
			return l.put(body, d)
		})
	}
	if err != nil {
		writeProblem(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// receive takes in a body of known length and makes problems of its errors.
func (a *api) receive(w http.ResponseWriter, r *http.Request, limit int64, put func(io.Reader) error) error {
	switch {
	case r.ContentLength < 0:
		return &problem{http.StatusLengthRequired, "the size is not said (Content-Length)", ""}
	case r.ContentLength > limit:
		return &problem{http.StatusRequestEntityTooLarge, fmt.Sprintf("%d bytes, at most %d", r.ContentLength, limit), ""}
	}
	body := &errReader{r: http.MaxBytesReader(w, r.Body, limit)}
	err := put(body)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fetch.ErrFull):
		return &problem{http.StatusInsufficientStorage, err.Error(), "masthead image list, then masthead image rm TAG; masthead image old --remove"}
	case body.err != nil:
		return &problem{http.StatusBadRequest, fmt.Sprintf("what was sent is not whole: %v", body.err), ""}
	case body.end:
		return &problem{http.StatusBadRequest, err.Error(), ""} // all came, and is not what it should be
	}
	return err
}

// errReader remembers how a body ended.
type errReader struct {
	r   io.Reader
	err error
	end bool
}

func (e *errReader) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if err == io.EOF {
		e.end = true
	} else if err != nil {
		e.err = err
	}
	return n, err
}

func (a *api) aside(context.Context, caller, *http.Request) (any, error) { return a.head.aside() }

func (a *api) removeAside(context.Context, caller, *http.Request) (any, error) {
	if a.head.library.shared {
		return nil, &problem{http.StatusConflict, "the folder of the images is shared by all heads: what lies in it is not this head's to remove", ""}
	}
	gone, err := a.head.aside()
	if err == nil {
		gone.Bytes, err = a.head.library.store.RemoveOld()
	}
	if err != nil {
		return nil, err
	}
	return gone, nil
}
