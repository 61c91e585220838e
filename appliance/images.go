package appliance

import (
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"masthead/appliance/fetch"
	"masthead/appliance/state"
	"masthead/images"
	"masthead/node/wire"
)

// SharedMark is a file in the folder of the images that says that this is one folder for all heads, on a file server:
// then no head moves or removes anything in it. It lies in the folder itself, so that no head can take it for its own.
const SharedMark = "SHARED"

// openLibrary opens the images of this head. The state is not open yet.
func (h *Head) openLibrary() error {
	store, err := images.OpenStore(filepath.Join(h.cfg.StateDir, ImagesDir))
	if err != nil {
		return err
	}
	l := newLibrary(store, tagState{tags: h.imageTags, had: h.hadTag})
	l.roots = h.runningImages
	if _, err := os.Stat(filepath.Join(store.Dir(), SharedMark)); err == nil {
		l.shared = true
	}
	if h.cfg.Pack != "" {
		if l.pack, err = images.OpenPackFile(h.cfg.Pack); err != nil {
			return err
		}
	}
	h.library = l
	l.fetch, err = h.newFetcher(wire.PeerBlob, store, l.has, l.put)
	return err
}

func (h *Head) newFetcher(path string, store *images.Store, have func(images.Blob) bool, put func(io.Reader, images.Digest) error) (*fetch.Fetcher, error) {
	return fetch.New(fetch.Config{
		Have: have, Put: put, Path: path, Peers: h.fetchPeers, Spool: filepath.Join(store.Dir(), "tmp"), Log: h.log,
		Event: func(text string) {
			h.reg.Event(wire.Event{Time: time.Now(), Kind: "image", Failed: true, Text: text})
		},
	})
}

// fetchPeers are the other heads as a source of blobs.
func (h *Head) fetchPeers() []fetch.Peer {
	if h.db == nil {
		return nil
	}
	var peers []fetch.Peer
	for name, rec := range h.peerRecords() {
		peers = append(peers, fetch.Peer{Name: name, URL: rec.URL(), HTTP: h.peerClient(name)})
	}
	return peers
}

// imageTags are the tags of the state, removed ones too.
func (h *Head) imageTags() map[string]wire.ImageTag {
	tags := map[string]wire.ImageTag{}
	if h.db == nil {
		return tags
	}
	for _, rec := range h.db.List(state.KindTag, "") {
		tag, err := state.Decode[wire.ImageTag](rec)
		if err != nil {
			h.log.Error("an image's tag is not understood", "tag", rec.Key.Name, "err", err)
			continue
		}
		tags[rec.Key.Name] = tag
	}
	return tags
}

// hadTag reports whether the state has or has had a tag.
func (h *Head) hadTag(tag string) bool {
	if h.db == nil {
		return false
	}
	rec, err := h.db.Records([]state.Key{{Kind: state.KindTag, Name: tag}})
	return err != nil || len(rec) > 0
}

// runningImages are the images that are needed whether a tag names them or not: those that machines run or were told to
// run, and those that a node, a group or a setting names by digest.
func (h *Head) runningImages() []images.Digest {
	if h.db == nil {
		return nil
	}
	found := map[images.Digest]bool{}
	add := func(ref string) {
		if d, err := images.ParseDigest(ref); err == nil {
			found[d] = true
		}
	}
	for _, rec := range h.db.List(state.KindBoot, "") {
		b, err := state.Decode[struct {
			Boot struct {
				Image, Running string
			} `json:"boot"`
		}](rec)
		if err == nil {
			add(b.Boot.Image)
			add(b.Boot.Running)
		}
	}
	for _, kind := range []state.Kind{state.KindNode, state.KindGroup} {
		for _, rec := range h.db.List(kind, "") {
			if v, err := state.Decode[struct{ Image string }](rec); err == nil {
				add(v.Image)
			}
		}
	}
	if h.reg != nil {
		add(h.reg.Settings().DefaultImage)
		if nodes, err := h.reg.List("", time.Now()); err == nil { // their last word may not be in the state yet
			for _, n := range nodes {
				add(string(n.Running))
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// needed is what must stay in the store. An image whose manifest cannot be read here keeps everything if a tag names it:
// what it consists of is not known. One that only runs somewhere, and one that a tag has meant before and that no other
// head can give, keep what is known of them.
func (l *library) needed() images.Roots {
	var roots images.Roots
	add := func(d images.Digest, tagged bool) {
		if _, err := l.store.Manifest(d); err == nil {
			roots.Images = append(roots.Images, d)
		} else if index, ok := l.index(d); ok { // on the medium, or here until just now
			roots.Blobs = append(append(roots.Blobs, d), slices.Collect(maps.Keys(index))...)
		} else if tagged {
			roots.Images = append(roots.Images, d)
		}
	}
	tagged, alone := l.images(), !l.elsewhere()
	now := map[images.Digest]bool{}
	for _, tag := range l.state.tags() {
		if v, ok := tag.Now(); ok {
			now[v.Digest] = true
		}
	}
	for d := range tagged {
		add(d, now[d] || !alone)
	}
	for _, d := range l.roots() {
		if _, twice := tagged[d]; !twice {
			add(d, false)
		}
	}
	return roots
}

const (
	// lookAgain is how often it is looked whether all images are here.
	lookAgain = 30 * time.Second
	// retryFetch is how soon what no head gave is asked for again.
	retryFetch = 5 * time.Second
	// fetchAtOnce is how many blobs of an image come at once: enough to hide the way there and back.
	fetchAtOnce = 8
	// tellAgain is how often it is told that an image does not come.
	tellAgain = 10 * time.Minute
	// uploadTime is how long what an administrator sends is kept without a tag.
	uploadTime = 10 * time.Minute
)

// blobDamaged sets a blob aside that was found damaged when it was asked for, so that it comes from another head.
func (h *Head) blobDamaged(d images.Digest) {
	if h.library.shared || !h.library.elsewhere() {
		return
	}
	f, err := h.library.store.OpenChecked(images.Blob{Digest: d})
	if err == nil {
		f.Close()
		return
	}
	h.library.fetch.Begin(images.Blob{Digest: d}) // a copy in the store is read before one on a damaged medium
}

// aside is what this head has set aside.
func (h *Head) aside() (wire.Aside, error) {
	old, err := h.library.store.Old()
	a := wire.Aside{Files: len(old), Old: old}
	for _, o := range old {
		a.Bytes += o.Size
	}
	return a, err
}

// blobRoutes are what other heads fetch here. They are given what lies here, and nobody else is asked for it.
func (h *Head) blobRoutes() []peerRoute {
	return []peerRoute{
		{http.MethodGet + " " + wire.PeerBlob + "{digest}", fetch.Handler(&h.library.shelf)},
		{http.MethodGet + " " + wire.PeerFile + "{digest}", fetch.Handler(h.files.store)},
		{http.MethodGet + " " + wire.PeerChecks, http.HandlerFunc(h.serveFileCheck)},
	}
}
