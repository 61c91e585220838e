package appliance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"time"

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
		{"DELETE " + wire.PathImage + "{tag}", admin, "Remove a tag; ?dry_run only says what would be; ?force also one that is in use", nil, wire.ImageChanged{}, a.removeImage, nil},
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

// notKept tells that a file is not kept the same.
func notKept(err error) bool {
	var p *problem
	return errors.As(err, &p) && p.status == http.StatusNotFound
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
	before, _, err := a.file(ch.Path)
	if err != nil && !notKept(err) {
		return nil, err
	}
	if err := files.CheckOwners(before.Now(), v); err != nil {
		return nil, &problem{http.StatusBadRequest, fmt.Sprintf("file %s: %v", ch.Path, err), "masthead file add " + ch.Path + " --owner root:root, or numbers, --owner 1000:1000"}
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
		if err != nil && !notKept(err) {
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
