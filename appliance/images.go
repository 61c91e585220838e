package appliance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

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

// bring fetches what is missing, first what the tags mean now and then what they meant before. It reports whether all
// is here.
func (k *keeper) bring(ctx context.Context) bool {
	h, l := k.head, k.head.library
	tags := l.state.tags()
	names := slices.Sorted(maps.Keys(tags))
	all, here := true, map[images.Digest]bool{}
	get := func(name string, v wire.ImageVersion, now bool) {
		if here[v.Digest] || ctx.Err() != nil {
			return
		}
		began := time.Now()
		moved, err := l.bring(ctx, name, v)
		here[v.Digest] = err == nil
		if err == nil {
			delete(k.stuck, v.Digest)
			if moved > 0 {
				h.reg.Event(wire.Event{Time: time.Now(), Kind: "image", Text: fmt.Sprintf("image %s, %s, is here: %s from other heads in %.1f s",
					name, v.Digest.Short(), sizeText(moved), time.Since(began).Seconds())})
			}
			return
		}
		lost := l.lost(err)
		if lost && !now && !l.elsewhere() { // what came from a medium that is gone: nobody can be asked for it
			l.setProgress(wire.Fetching{Digest: v.Digest})
			return
		}
		all = false
		if lost && now {
			h.succeed(ctx, name)
		}
		if ctx.Err() == nil && !errors.Is(err, errUnwanted) && time.Since(k.stuck[v.Digest]) > tellAgain {
			if k.stuck == nil {
				k.stuck = map[images.Digest]time.Time{}
			}
			k.stuck[v.Digest] = time.Now()
			h.reg.Event(wire.Event{Time: time.Now(), Kind: "image", Failed: true, Text: fmt.Sprintf("image %s is not all here: %v", name, err)})
		}
	}
	for _, name := range names {
		if v, ok := tags[name].Now(); ok {
			get(name, v, true)
			if here[v.Digest] {
				h.mirror(name, tags[name])
			}
		}
	}
	for _, name := range names {
		if _, ok := tags[name].Now(); ok {
			for _, v := range slices.Backward(tags[name].Versions) {
				get(name, v, false)
			}
		}
	}
	l.forgetProgress(here)
	return all
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

var errUnwanted = errors.New("it was removed meanwhile")

// bring fetches what of one image is not here, and says how much that was. Blobs are independent: after a crash it goes
// on where it was.
func (l *library) bring(ctx context.Context, tag string, v wire.ImageVersion) (moved int64, err error) {
	manifest := images.Blob{Digest: v.Digest, Size: v.Bytes}
	if !l.has(manifest) {
		l.setProgress(wire.Fetching{Tag: tag, Digest: v.Digest, Total: v.Bytes})
		if err := l.getOne(ctx, manifest); err != nil {
			return 0, l.waits(v.Digest, err)
		}
		moved = v.Bytes
	}
	m, err := images.ReadManifest(&l.shelf, v.Digest)
	if err != nil && !l.shared {
		// Damaged: the next look finds it missing.
		if _, aside := l.store.SetAside(v.Digest); aside == nil {
			err = l.getOne(ctx, manifest)
			if err == nil {
				m, err = images.ReadManifest(&l.shelf, v.Digest)
			}
		}
	}
	if err != nil {
		return 0, l.waits(v.Digest, err)
	}
	missing := slices.DeleteFunc(m.Blobs(), l.has)
	if len(missing) == 0 {
		l.setProgress(wire.Fetching{Digest: v.Digest})
		return moved, nil
	}
	p := wire.Fetching{Tag: tag, Digest: v.Digest}
	for _, b := range missing {
		p.Total += b.Size
	}
	l.setProgress(p)
	if err = l.room(p.Total); err == nil {
		err = l.bringBlobs(ctx, v.Digest, missing)
	}
	if err == nil {
		err = l.store.Sync()
	}
	if err != nil {
		return 0, l.waits(v.Digest, err)
	}
	l.setProgress(wire.Fetching{Digest: v.Digest})
	return moved + p.Total, nil
}

// tooManyMissing ends an attempt: what else is of an image that nobody has need not be asked for.
const tooManyMissing = 16

func (l *library) bringBlobs(ctx context.Context, image images.Digest, missing []images.Blob) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(fetchAtOnce)
	absent := make(chan error, tooManyMissing)
	for i, b := range missing {
		if ctx.Err() != nil {
			break
		}
		if i%64 == 0 {
			if _, still := l.images()[image]; !still {
				g.Go(func() error { return errUnwanted })
				break
			}
		}
		g.Go(func() error {
			err := l.getOne(ctx, b)
			if errors.Is(err, images.ErrNotFound) {
				select {
				case absent <- err: // the rest may be somewhere
					return nil
				default:
				}
			}
			if err == nil {
				l.advance(image, b.Size)
			}
			return err
		})
	}
	err := g.Wait()
	select {
	case first := <-absent:
		return first
	default:
		return err
	}
}

func (l *library) getOne(ctx context.Context, b images.Blob) error {
	if l.store.Revive(b.Digest) && l.has(b) {
		return nil
	}
	return l.fetch.Get(ctx, b)
}

func (l *library) setProgress(p wire.Fetching) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.Total == 0 {
		delete(l.progress, p.Digest)
		return
	}
	l.progress[p.Digest] = p
}

func (l *library) advance(d images.Digest, n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p, ok := l.progress[d]; ok {
		p.Done += n
		l.progress[d] = p
	}
}

// waits notes why an image does not come.
func (l *library) waits(d images.Digest, err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p, ok := l.progress[d]; ok {
		p.Waits = err.Error()
		l.progress[d] = p
	}
	return err
}

// forgetProgress forgets images that are needed no more.
func (l *library) forgetProgress(needed map[images.Digest]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.progress, func(d images.Digest, _ wire.Fetching) bool { _, ok := needed[d]; return !ok })
}

// fetching lists the images that are on their way here, for the status.
func (h *Head) fetching() []wire.Fetching {
	h.library.mu.Lock()
	defer h.library.mu.Unlock()
	return slices.SortedFunc(maps.Values(h.library.progress), func(a, b wire.Fetching) int {
		return strings.Compare(a.Tag+string(a.Digest), b.Tag+string(b.Digest))
	})
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
