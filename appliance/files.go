package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"masthead/appliance/fetch"
	"masthead/appliance/files"
	"masthead/appliance/state"
	"masthead/images"
	"masthead/node/wire"
)

// filesDir is where the contents of ordinary files lie, below the state folder: apart from the images, so that no
// machine is ever given one by the route that gives them chunks.
const filesDir = "files"

// maxVersions is how many versions of a file or an image's tag are remembered.
const (
	maxFileVersions  = 32
	maxImageVersions = 64
)

// fileService keeps ordinary files the same on all heads.
type fileService struct {
	store  *images.Store
	fetch  *fetch.Fetcher
	keeper *files.Keeper

	gate     sync.RWMutex // held for reading while contents are written, for writing while unneeded ones are removed
	mu       sync.Mutex
	uploaded time.Time
	watch    *state.Watch
}

func (h *Head) openFiles() error {
	dir := filepath.Join(h.cfg.StateDir, filesDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("open the files: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil { // some of them are keys
		return fmt.Errorf("open the files: %w", err)
	}
	store, err := images.OpenStore(dir)
	if err != nil {
		return err
	}
	s := &fileService{store: store}
	h.files = s
	if s.fetch, err = h.newFetcher(wire.PeerFile, store, s.has, s.put); err != nil {
		return err
	}
	s.keeper, err = h.newFileKeeper("")
	return err
}

// newFileKeeper keeps files below a root, which is empty but in tests.
func (h *Head) newFileKeeper(root string) (*files.Keeper, error) {
	s := h.files
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		h.log.Warn("this boot has no name; files that were changed by hand are put back when the head starts", "err", err)
	}
	return files.New(files.Config{
		Head: h.cfg.Name, Records: h.fileRecords, Changed: s.changed, Content: s.content,
		Forbidden: h.forbidden(), Memory: filepath.Join(s.store.Dir(), "placed.json"), Boot: strings.TrimSpace(string(boot)), Root: root,
		Event: func(text string, failed bool) {
			h.reg.Event(wire.Event{Time: time.Now(), Kind: "file", Failed: failed, Text: text})
		},
	})
}

// forbidden are the folders in which no file is kept the same: each head's own state, and what is made anew at each boot.
func (h *Head) forbidden() []string {
	list := []string{images.StateDir, images.RunDir, "/run"}
	if dir, err := filepath.Abs(h.cfg.StateDir); err == nil {
		list = append(list, dir)
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			list = append(list, real)
		}
	}
	return list
}

func (s *fileService) has(b images.Blob) bool {
	r, size, err := s.store.Open(b.Digest)
	if err != nil {
		return false
	}
	r.Close()
	return size == b.Size
}

func (s *fileService) put(r io.Reader, d images.Digest) error {
	s.gate.RLock()
	defer s.gate.RUnlock()
	_, err := s.store.PutVerified(r, d)
	if err == nil {
		err = s.store.Sync()
	}
	return err
}

// content gives what a file holds; one that is damaged here, or not here, comes from another head.
func (s *fileService) content(ctx context.Context, b images.Blob) (io.ReadCloser, error) {
	f, err := s.store.OpenChecked(images.Blob{Digest: b.Digest})
	if err == nil {
		return f, nil
	}
	if !errors.Is(err, images.ErrNotFound) {
		return nil, err
	}
	r, _, err := s.fetch.Open(ctx, b)
	return r, err
}

// changed waits until a file's record has changed. It is called by one goroutine.
func (s *fileService) changed(ctx context.Context) error {
	if s.watch == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	_, err := s.watch.Next(ctx)
	return err
}

// fileRecords are the files of the state, by path.
func (h *Head) fileRecords() map[string]files.Record {
	all := map[string]files.Record{}
	for _, rec := range h.db.List(state.KindFile, "") {
		f, err := state.Decode[wire.FileRecord](rec)
		if err != nil || len(f.Versions) == 0 {
			h.log.Error("a file's record is not understood", "file", rec.Key.Name, "err", err)
			continue
		}
		all[rec.Key.Name] = files.Record{FileRecord: f, Version: rec.Version.String()}
	}
	return all
}

// keepFiles keeps the files until ctx ends.
func (h *Head) keepFiles(ctx context.Context) error {
	s := h.files
	s.watch = h.db.Watch(state.KindFile)
	defer s.watch.Close()
	for !h.serves() { // a head that does not know the state yet must not go by it
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
	cleared := make(chan struct{})
	go func() { // ends with ctx, and is waited for
		defer close(cleared)
		every := time.NewTicker(time.Minute)
		defer every.Stop()
		for {
			h.clearFiles(ctx)
			select {
			case <-ctx.Done():
				return
			case <-every.C:
			}
		}
	}()
	err := s.keeper.Run(ctx)
	<-cleared
	return err
}

// clearFiles fetches the contents of all versions that are not here, and removes those that no version has: of a key
// that was given up nothing shall stay.
func (h *Head) clearFiles(ctx context.Context) {
	s := h.files
	for path, r := range h.fileRecords() {
		for _, v := range slices.Backward(r.Versions) {
			b := images.Blob{Digest: v.Digest, Size: v.Size}
			if ctx.Err() != nil {
				return
			}
			if !s.has(b) {
				if err := s.fetch.Get(ctx, b); err != nil {
					h.log.Debug("a version of a file is not here", "file", path, "err", err)
				}
			}
		}
	}
	s.mu.Lock()
	busy := time.Since(s.uploaded) < uploadTime
	s.mu.Unlock()
	if busy {
		return
	}
	s.gate.Lock()
	defer s.gate.Unlock()
	var roots images.Roots
	for _, rec := range h.db.List(state.KindFile, "") {
		r, err := state.Decode[wire.FileRecord](rec)
		if err != nil {
			return // what it needs is not known
		}
		for _, v := range r.Versions {
			roots.Blobs = append(roots.Blobs, v.Digest)
		}
	}
	if _, err := s.store.Collect(roots); err != nil && !errors.Is(err, images.ErrBusy) {
		h.log.Warn("contents of files that were removed are still here", "err", err)
	}
	if _, err := s.store.RemoveOld(); err != nil {
		h.log.Warn("damaged contents of files are still here", "err", err)
	}
}

// filesDiffer lists the files that are not on this head what the state says, for the status.
func (h *Head) filesDiffer() []wire.FileDifference { return h.files.keeper.Differs() }

// checkFiles looks at all files now and changes nothing.
func (h *Head) checkFiles(ctx context.Context) []wire.FileDifference {
	h.files.keeper.Look(ctx, false)
	if d := h.files.keeper.Differs(); d != nil {
		return d
	}
	return []wire.FileDifference{}
}

func (h *Head) serveFileCheck(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, h.checkFiles(r.Context()))
}

// checkTimeout bounds how long another head may take to look at its files.
const checkTimeout = 15 * time.Second

// checkAllFiles asks all configured heads. One that does not answer is a difference of its own.
//
// One that was silent before is given the time of a packet, not that of a folder of files.
func (h *Head) checkAllFiles(ctx context.Context) []wire.FileDifference {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	all := h.checkFiles(ctx)
	var mu sync.Mutex
	var asked sync.WaitGroup
	for name, rec := range h.peerRecords() {
		asked.Go(func() {
			ctx := ctx
			alive, seen := h.lastHeard(name)
			if !alive {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, silentTimeout)
				defer cancel()
			}
			found, err := h.askFileCheck(ctx, name, rec)
			if err != nil {
				found = []wire.FileDifference{{Head: name, Reason: silence(alive, seen, err), Try: "masthead head list"}}
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, found...)
		})
	}
	asked.Wait()
	slices.SortStableFunc(all, func(a, b wire.FileDifference) int {
		return strings.Compare(a.Path+"\x00"+a.Head, b.Path+"\x00"+b.Head)
	})
	return all
}

// silence is why a head gave no answer, after its name. Pure.
func silence(alive bool, seen time.Time, err error) string {
	switch {
	case alive:
		return "gives no answer: " + err.Error()
	case seen.IsZero():
		return "has not answered since this head started"
	}
	return "does not answer since " + seen.UTC().Format("2006-01-02 15:04:05 UTC")
}

func (h *Head) askFileCheck(ctx context.Context, name string, rec wire.HeadRecord) ([]wire.FileDifference, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, rec.URL()+wire.PeerChecks, nil)
	if err != nil {
		return nil, err
	}
	resp, err := h.peerClient(name).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers %s", resp.Status)
	}
	var found []wire.FileDifference
	if err := json.NewDecoder(io.LimitReader(resp.Body, wire.MaxJSON)).Decode(&found); err != nil {
		return nil, err
	}
	return found, nil
}
