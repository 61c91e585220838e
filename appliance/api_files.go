package appliance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"masthead/appliance/fetch"
	"masthead/appliance/files"
	"masthead/appliance/state"
	"masthead/images"
	"masthead/node/wire"
)

// fileRoutes are the API of images' tags and of files that are the same on all heads.
func (a *api) fileRoutes() []route {
	return []route{
		{"GET " + wire.PathImage + "{tag}", admin, "Show an image's tag and what it meant before", nil, wire.ImageTag{}, a.imageTag, nil},
		{"PUT " + wire.PathImage + "{tag}", admin, "Make a tag mean an image that is on this head", wire.ImageChange{}, wire.ImageChanged{}, a.tagImage, nil},
		{"POST " + wire.PathImage + "{tag}/rollback", admin, "Make a tag mean what it meant before", wire.ImageChange{}, wire.ImageChanged{}, a.rollbackImage, nil},
		{"DELETE " + wire.PathImage + "{tag}", admin, "Remove a tag; ?dry_run only says what would be", nil, wire.ImageChanged{}, a.removeImage, nil},
		{"PUT " + wire.PathBlob + "{digest}", admin, "Send a blob of an image", nil, nil, nil, a.putBlob},
		{"GET " + wire.PathBlob + "{digest}" + wire.PathLacks, admin, "What of an image, given by its manifest, is not on this head", nil, []images.Blob{}, a.lacks, nil},
		{"GET " + wire.PathAside, admin, "List what this head has set aside (.old.NN)", nil, wire.Aside{}, a.aside, nil},
		{"DELETE " + wire.PathAside, admin, "Delete what this head has set aside", nil, wire.Aside{}, a.removeAside, nil},

		{"GET " + wire.PathFiles, admin, "List the files that are the same on all heads", nil, []wire.File{}, a.fileList, nil},
		{"POST " + wire.PathFiles, admin, "Add a file, or a new version of one", wire.FileChange{}, wire.FileChanged{}, a.addFile, nil},
		{"GET " + wire.PathFile, admin, "Show a file and its history; ?path=PATH", nil, wire.File{}, a.showFile, nil},
		{"DELETE " + wire.PathFile, admin, "Keep a file the same no longer; it stays where it is; ?path=PATH", nil, wire.FileChanged{}, a.removeFile, nil},
		{"POST " + wire.PathFileRollback, admin, "Give a file its version before", wire.FileChange{}, wire.FileChanged{}, a.rollbackFile, nil},
		{"POST " + wire.PathFileRestore, admin, "Put the cluster's version in place on all heads", wire.FileChange{}, wire.FileChanged{}, a.restoreFile, nil},
		{"GET " + wire.PathFileDiff, admin, "What differs where, asked of all heads now; ?path=PATH", nil, []wire.FileDifference{}, a.fileDiff, nil},
		{"GET " + wire.PathFileBlob + "{digest}", admin, "The content of a version of a file", nil, nil, nil, a.getFileBlob},
		{"PUT " + wire.PathFileBlob + "{digest}", admin, "Send the content of a file", nil, nil, nil, a.putFileBlob},
	}
}

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
		if users, try := a.head.usersOf(name); len(users) > 0 {
			return t, &problem{http.StatusConflict, fmt.Sprintf("image %s is in use: %s", name, strings.Join(users, ", ")), try}
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
	if h.reg.Settings().DefaultImage == tag {
		use("by every node that names no image", "masthead head settings --default-image")
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

func (a *api) file(path string) (wire.File, state.Version, error) {
	rec, err := a.head.db.Get(state.Key{Kind: state.KindFile, Name: path})
	if errors.Is(err, state.ErrNotFound) {
		return wire.File{}, state.Version{}, &problem{http.StatusNotFound, path + " is not kept the same on all heads", "masthead file list, or masthead file add " + path}
	}
	if err != nil {
		return wire.File{}, state.Version{}, err
	}
	f, err := state.Decode[wire.FileRecord](rec)
	return wire.File{Path: path, FileRecord: f}, rec.Version, err
}

func (a *api) fileList(context.Context, caller, *http.Request) (any, error) {
	list := []wire.File{}
	for _, rec := range a.head.db.List(state.KindFile, "") {
		f, err := state.Decode[wire.FileRecord](rec)
		if err != nil {
			return nil, err
		}
		list = append(list, wire.File{Path: rec.Key.Name, FileRecord: f, Differs: a.differsHere(rec.Key.Name)})
	}
	return list, nil
}

func (a *api) differsHere(path string) []wire.FileDifference {
	return slices.DeleteFunc(a.head.filesDiffer(), func(d wire.FileDifference) bool { return d.Path != path })
}

func (a *api) showFile(_ context.Context, _ caller, r *http.Request) (any, error) {
	f, _, err := a.file(r.URL.Query().Get("path"))
	if err != nil {
		return nil, err
	}
	f.Differs = a.differsHere(f.Path)
	return f, nil
}

func (a *api) addFile(ctx context.Context, c caller, r *http.Request) (any, error) {
	ch, err := decode[wire.FileChange](r)
	if err != nil {
		return nil, err
	}
	v := wire.FileVersion{Digest: ch.Digest, Size: ch.Size, Mode: ch.Mode, Owner: ch.Owner, Group: ch.Group, UID: ch.UID, GID: ch.GID}
	err = errors.Join(files.CheckPath(ch.Path, a.head.forbidden()), files.CheckVersion(ch.Path, v))
	if err != nil {
		p := &problem{status: http.StatusBadRequest, detail: err.Error()}
		var t interface{ Try() string }
		if errors.As(err, &t) {
			p.try = t.Try()
		}
		return nil, p
	}
	a.head.files.gate.RLock()
	defer a.head.files.gate.RUnlock()
	if !ch.DryRun && !a.head.files.has(images.Blob{Digest: v.Digest, Size: v.Size}) {
		return nil, &problem{http.StatusConflict, "the content of " + ch.Path + " is not on this head", "send it first (" + wire.PathFileBlob + ")"}
	}
	return a.changeFile(ctx, c, ch.Path, ch.DryRun, func(f wire.FileRecord) (wire.FileVersion, error) { return v, nil })
}

func (a *api) rollbackFile(ctx context.Context, c caller, r *http.Request) (any, error) {
	ch, err := decode[wire.FileChange](r)
	if err != nil {
		return nil, err
	}
	if _, _, err := a.file(ch.Path); err != nil {
		return nil, err
	}
	return a.changeFile(ctx, c, ch.Path, ch.DryRun, func(f wire.FileRecord) (wire.FileVersion, error) {
		if len(f.Versions) < 2 {
			return wire.FileVersion{}, &problem{http.StatusConflict, ch.Path + " has had only one version", "masthead file history " + ch.Path}
		}
		return f.Versions[len(f.Versions)-2], nil
	})
}

// changeFile adds a version to a file.
func (a *api) changeFile(ctx context.Context, c caller, path string, dry bool, next func(wire.FileRecord) (wire.FileVersion, error)) (wire.FileChanged, error) {
	for try := 0; ; try++ {
		f, at, err := a.file(path)
		var none *problem
		if err != nil && !(errors.As(err, &none) && none.status == http.StatusNotFound) {
			return wire.FileChanged{}, err
		}
		v, err := next(f.FileRecord)
		if err != nil {
			return wire.FileChanged{}, err
		}
		changed := wire.FileChanged{Path: path, Diff: files.Diff(f.Now(), v), Applied: !dry}
		if dry || len(changed.Diff) == 0 {
			return changed, nil
		}
		o := c.origin()
		v.Who, v.Where, v.Time = o.Who, a.head.cfg.Name, a.now().UTC().Truncate(time.Second)
		if c.from.IsValid() {
			v.Where += " from " + c.from.String()
		}
		f.Versions = append(slices.Clone(f.Versions), v)
		if n := len(f.Versions); n > maxFileVersions {
			f.Versions = f.Versions[n-maxFileVersions:]
		}
		op, err := state.Put(state.KindFile, path, f.FileRecord)
		if err != nil {
			return wire.FileChanged{}, err
		}
		ack, err := a.head.store().Apply(ctx, o, op.At(at))
		if errors.Is(err, state.ErrConflict) && try < 5 {
			continue
		}
		if err != nil {
			return wire.FileChanged{}, fmt.Errorf("change file %s: %w", path, err)
		}
		changed.Degraded = ack.Degraded
		return changed, nil
	}
}

// restoreFile writes the record again as it is: its new version makes every head put the file in place.
func (a *api) restoreFile(ctx context.Context, c caller, r *http.Request) (any, error) {
	ch, err := decode[wire.FileChange](r)
	if err != nil {
		return nil, err
	}
	f, at, err := a.file(ch.Path)
	if err != nil {
		return nil, err
	}
	changed := wire.FileChanged{Path: f.Path, Diff: []wire.Difference{}, Applied: !ch.DryRun}
	for _, d := range a.head.checkAllFiles(ctx) {
		for _, x := range d.Diff {
			if d.Path == f.Path {
				changed.Diff = append(changed.Diff, wire.Difference{Field: d.Head + " " + x.Field, Old: x.New, New: x.Old})
			}
		}
	}
	if ch.DryRun {
		return changed, nil
	}
	op, err := state.Put(state.KindFile, f.Path, f.FileRecord)
	if err != nil {
		return nil, err
	}
	ack, err := a.head.store().Apply(ctx, c.origin(), op.At(at))
	if err != nil {
		return nil, fmt.Errorf("restore file %s: %w", f.Path, err)
	}
	changed.Degraded = ack.Degraded
	return changed, nil
}

func (a *api) removeFile(ctx context.Context, c caller, r *http.Request) (any, error) {
	f, at, err := a.file(r.URL.Query().Get("path"))
	if err != nil {
		return nil, err
	}
	changed := wire.FileChanged{Path: f.Path, Diff: []wire.Difference{{Field: "kept the same", Old: "true", New: "false"}}}
	if r.URL.Query().Has("dry_run") {
		return changed, nil
	}
	ack, err := a.head.store().Apply(ctx, c.origin(), state.Delete(state.KindFile, f.Path).At(at))
	if err != nil {
		return nil, fmt.Errorf("remove file %s: %w", f.Path, err)
	}
	changed.Applied, changed.Degraded = true, ack.Degraded
	return changed, nil
}

func (a *api) fileDiff(ctx context.Context, _ caller, r *http.Request) (any, error) {
	list := a.head.checkAllFiles(ctx)
	if path := r.URL.Query().Get("path"); path != "" {
		if _, _, err := a.file(path); err != nil {
			return nil, err
		}
		list = slices.DeleteFunc(list, func(d wire.FileDifference) bool { return d.Path != "" && d.Path != filepath.Clean(path) })
	}
	return list, nil
}

func (a *api) getFileBlob(w http.ResponseWriter, r *http.Request) {
	d, err := pathDigest(r)
	if err != nil {
		writeProblem(w, err)
		return
	}
	size := int64(-1)
	for _, f := range a.head.fileRecords() {
		for _, v := range f.Versions {
			if v.Digest == d {
				size = v.Size
			}
		}
	}
	if size < 0 {
		writeProblem(w, &problem{http.StatusNotFound, "no version of a file has the content " + string(d), "masthead file list"})
		return
	}
	body, err := a.head.files.content(r.Context(), images.Blob{Digest: d, Size: size})
	if err != nil {
		if errors.Is(err, images.ErrNotFound) {
			err = &problem{http.StatusNotFound, err.Error(), "masthead head list"}
		}
		writeProblem(w, err)
		return
	}
	defer body.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", fmt.Sprint(size))
	if _, err := io.Copy(w, body); err != nil {
		panic(http.ErrAbortHandler)
	}
}

func (a *api) putFileBlob(w http.ResponseWriter, r *http.Request) {
	d, err := pathDigest(r)
	if err == nil {
		err = a.receive(w, r, wire.MaxFile, func(body io.Reader) error {
			s := a.head.files
			s.mu.Lock()
			s.uploaded = time.Now()
			s.mu.Unlock()
			if err := a.head.library.room(r.ContentLength); err != nil {
				return err
			}
			return s.put(body, d)
		})
	}
	if err != nil {
		writeProblem(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
