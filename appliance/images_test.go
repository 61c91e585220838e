package appliance

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/appliance/state"
	"masthead/images"
	"masthead/node/wire"
)

// ring is some heads that know one another and answer one another over mutual TLS on loopback, without a network of
// their own. What one has changed the others hear of when the test says so (tell).
type ring struct {
	t     *testing.T
	heads []*Head
	srvs  []*httptest.Server
}

func newRing(t *testing.T, names ...string) *ring {
	t.Helper()
	r := &ring{t: t}
	for _, name := range names {
		r.start(name, t.TempDir(), "")
	}
	r.introduce()
	return r
}

func (r *ring) start(name, dir, pack string) *Head {
	r.t.Helper()
	cfg := DefaultConfig()
	cfg.Name, cfg.Version, cfg.StateDir, cfg.Pack, cfg.AdminToken, cfg.Socket = name, "test", dir, pack, ownerToken, ""
	cfg.Address = netip.MustParsePrefix("127.0.0.1/8")
	h, err := New(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	a := &api{head: h, now: time.Now}
	srv := httptest.NewUnstartedServer(h.withPeers(a.handler(false), h.blobRoutes()...))
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	srv.Listener = tls.NewListener(srv.Listener, h.server.TLSConfig()) // not StartTLS, which shows a certificate of its own
	srv.Start()
	r.t.Cleanup(func() {
		h.closePeers()
		srv.Close()
		h.Close()
	})
	r.heads, r.srvs = append(r.heads, h), append(r.srvs, srv)
	return h
}

// introduce enters every head into every state.
func (r *ring) introduce() {
	r.t.Helper()
	for i, h := range r.heads {
		at := netip.MustParseAddrPort(r.srvs[i].Listener.Addr().String())
		op, err := state.Put(state.KindHead, h.cfg.Name, wire.HeadRecord{Address: at.Addr(), HTTPS: at.Port(), Key: h.server.Key()})
		if err == nil {
			_, err = h.db.Apply(r.t.Context(), ownOrigin, op)
		}
		if err != nil {
			r.t.Fatal(err)
		}
	}
	r.tell()
}

// tell lets every head hear of all that the others have.
func (r *ring) tell() {
	r.t.Helper()
	for _, from := range r.heads {
		for _, to := range r.heads {
			if from == to {
				continue
			}
			var keys []state.Key
			var leaves []int
			for i := range 64 * 64 {
				leaves = append(leaves, i)
			}
			for _, s := range from.db.Stamps(leaves) {
				keys = append(keys, s.Key)
			}
			records, err := from.db.Records(keys)
			if err == nil {
				_, err = to.db.Merge(r.t.Context(), records)
			}
			if err != nil {
				r.t.Fatal(err)
			}
		}
	}
}

func (r *ring) client(i int) *wire.Client { return r.clientOf(i, ownerToken) }

func (r *ring) clientOf(i int, token string) *wire.Client {
	c := wire.NewClient("https://"+r.srvs[i].Listener.Addr().String(), r.heads[i].authority.Digest(), token)
	r.t.Cleanup(c.Close)
	return c
}

// worker is a client with a boot token.
func (r *ring) worker(i int) *wire.Client {
	r.t.Helper()
	name, mac, yes := fmt.Sprintf("w%02d", i), fmt.Sprintf("52:54:00:77:01:%02x", i), true
	if _, ok := r.heads[i].reg.ByMAC(mac); !ok {
		op, err := state.Put(state.KindSlot, state.SlotName(state.SlotOf(name)), state.Slot{Head: r.heads[i].cfg.Name})
		if err == nil {
			_, err = r.heads[i].db.Apply(r.t.Context(), ownOrigin, op)
		}
		if err != nil {
			r.t.Fatal(err)
		}
		if _, err := r.client(i).AddNode(r.t.Context(), wire.NodeChange{Name: &name, MAC: &mac, Approved: &yes}); err != nil {
			r.t.Fatal(err)
		}
	}
	spec, err := r.client(i).Hello(r.t.Context(), wire.Hello{Boot: "boot", MAC: mac, Role: images.RoleWorker})
	if err != nil || spec.Token == "" {
		r.t.Fatalf("hello: %+v, %v", spec, err)
	}
	return r.clientOf(i, spec.Token)
}

// turn lets a head do once what its service does all the time.
func turn(t *testing.T, h *Head) (all bool) {
	t.Helper()
	k := &keeper{head: h, scanned: true}
	defer k.drop()
	k.hold()
	h.publishTags(t.Context())
	return k.bring(t.Context())
}

// testImage stores an image in a store; text makes it another one, and the first of its chunks too.
func testImage(t *testing.T, s *images.Store, name string, texts ...string) (images.Digest, images.Manifest) {
	t.Helper()
	put := func(text string) images.Blob {
		b, err := s.PutBytes([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	root := images.Root{ChunkSize: 1 << 20}
	for _, text := range texts {
		root.Chunks = append(root.Chunks, images.Chunk(put(text)))
		root.Size += 1 << 20
	}
	m := images.Manifest{
		Format: images.ManifestFormat, Name: name, Role: images.RoleWorker, Arch: "amd64", KernelRelease: "6.12",
		Kernel: put("kernel of " + name), Initramfs: put("initramfs of " + name), Loaders: map[string]images.Blob{"undionly.kpxe": put("loader")}, Root: root,
	}
	d, err := s.PutManifest(m)
	if err != nil {
		t.Fatal(err)
	}
	return d, m
}

func tagged(t *testing.T, h *Head, name string, texts ...string) (images.Digest, images.Manifest) {
	t.Helper()
	d, m := testImage(t, h.library.store, name, texts...)
	a := &api{head: h, now: time.Now}
	srv := httptest.NewServer(a.handler(true))
	defer srv.Close()
	c := &wire.Client{Base: srv.URL, HTTP: srv.Client()}
	if _, err := c.TagImage(t.Context(), name, wire.ImageChange{Image: string(d), Source: "test"}); err != nil {
		t.Fatal(err)
	}
	return d, m
}

// A tag that one head has reaches the others, with all that it names, and only that is moved which is not there.
func TestImagesReachAllHeads(t *testing.T) {
	r := newRing(t, "h1", "h2", "h3")
	d, m := tagged(t, r.heads[0], "worker", "one", "two", "three")
	r.tell()
	list, err := r.client(1).Images(t.Context())
	if err != nil || len(list) != 1 || list[0].Digest != d || list[0].Missing == 0 {
		t.Fatalf("before it was fetched: %+v, %v; want it listed, with what is missing", list, err)
	}
	for _, h := range r.heads[1:] {
		if !turn(t, h) {
			t.Fatal("not all is here")
		}
		for _, b := range append(m.Blobs(), images.Blob{Digest: d}) {
			if !h.library.has(b) {
				t.Errorf("%s does not have %s", h.cfg.Name, b.Digest.Short())
			}
		}
		if got, err := h.library.store.Resolve("worker"); got != d || err != nil {
			t.Errorf("the store's tag: %s, %v", got, err)
		}
	}
	// A second version: the chunks that are the same are not asked for again.
	newer, m2 := tagged(t, r.heads[0], "worker", "one", "two", "four")
	r.tell()
	missing := slices.DeleteFunc(m2.Blobs(), r.heads[1].library.has)
	if len(missing) != 1 {
		t.Errorf("%d blobs of the second version are missing, want 1", len(missing))
	}
	if !turn(t, r.heads[1]) {
		t.Fatal("the second version is not here")
	}
	list, err = r.client(1).Images(t.Context())
	if err != nil || len(list) != 1 || list[0].Digest != newer || list[0].Missing != 0 || list[0].History != 2 {
		t.Errorf("after: %+v, %v", list, err)
	}
	if f := r.heads[1].fetching(); len(f) != 0 {
		t.Errorf("still fetching %+v", f)
	}
	// And back.
	if _, err := r.client(1).RollbackImage(t.Context(), "worker", wire.ImageChange{}); err != nil {
		t.Fatal(err)
	}
	r.tell()
	if got, err := r.heads[2].library.resolve("worker"); got != d || err != nil {
		t.Errorf("after the rollback: %s, %v", got, err)
	}
}

// A machine that boots from a head which does not have the image yet gets it from there nevertheless.
func TestFetchedOnDemand(t *testing.T) {
	r := newRing(t, "h1", "h2")
	d, m := tagged(t, r.heads[0], "worker", strings.Repeat("chunk", 100_000))
	r.tell()
	w := r.worker(1)
	got, _, err := w.Manifest(t.Context(), d)
	if diff := cmp.Diff(m, got); err != nil || diff != "" {
		t.Fatalf("manifest: %v\n%s", err, diff)
	}
	for _, b := range m.Blobs() {
		body, size, err := w.Blob(t.Context(), b.Digest)
		if err != nil || size != b.Size {
			t.Fatalf("%s: %d bytes, %v", b.Digest.Short(), size, err)
		}
		data, err := io.ReadAll(body)
		body.Close()
		if err != nil || images.DigestOf(data) != b.Digest {
			t.Errorf("%s: %d bytes, %v", b.Digest.Short(), len(data), err)
		}
		if err := r.heads[1].library.fetch.Get(t.Context(), b); err != nil || !r.heads[1].library.store.Has(b) {
			t.Errorf("%s was not stored: %v", b.Digest.Short(), err)
		}
	}
	// The plain port too.
	rec := httptest.NewRecorder()
	r.heads[1].boot.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/boot/"+d.Hex()+"/vmlinuz", nil))
	if rec.Code != http.StatusOK || rec.Body.String() != "kernel of worker" {
		t.Errorf("kernel: %d %q", rec.Code, rec.Body)
	}
	if f, err := r.heads[1].tftpFiles("undionly.kpxe"); err != nil {
		t.Errorf("loader: %v", err)
	} else {
		f.Close()
	}
}

// What nobody has is a 404 that names it, and a head that is asked by another asks nobody.
func TestNobodyHasIt(t *testing.T) {
	r := newRing(t, "h1", "h2", "h3")
	d, m := tagged(t, r.heads[0], "worker", "one")
	r.tell()
	chunk := m.Root.Chunks[0].Digest
	if err := os.Remove(filepath.Join(r.heads[0].library.store.Dir(), "blobs", chunk.Hex()[:2], chunk.Hex())); err != nil {
		t.Fatal(err)
	}
	w := r.worker(1)
	_, _, err := w.Blob(t.Context(), chunk)
	var p *wire.ProblemError
	if !errors.As(err, &p) || p.Status != http.StatusNotFound || !strings.Contains(p.Detail, string(chunk)) {
		t.Errorf("%v, want a 404 that names %s", err, chunk)
	}
	if turn(t, r.heads[1]) {
		t.Error("the image is said to be all here")
	}
	if f := r.heads[1].fetching(); len(f) != 1 || f[0].Tag != "worker" || !strings.Contains(f[0].Waits, string(chunk)) {
		t.Errorf("fetching: %+v", f)
	}
	// h3 has nothing of it. h1 asks h3 for what h2 has: h3 must not fetch it from there.
	req, err := http.NewRequest(http.MethodGet, r.heads[0].heads()["h3"].URL()+wire.PeerBlob+string(d), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := r.heads[0].peerClient("h3").Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound || r.heads[2].library.has(images.Blob{Digest: d}) {
		t.Errorf("a head that was asked answers %s and has %t", resp.Status, r.heads[2].library.has(images.Blob{Digest: d}))
	}
	// A stranger is no head.
	stranger := r.client(0)
	if resp, err = stranger.HTTP.Get(stranger.Base + wire.PeerBlob + string(d)); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a stranger is answered %s", resp.Status)
	}
}

// A removed tag is removed everywhere, with what only it used, and does not come back from a medium.
func TestRemovedImage(t *testing.T) {
	r := newRing(t, "h1", "h2")
	_, m1 := tagged(t, r.heads[0], "worker", "both", "one")
	d2, m2 := tagged(t, r.heads[0], "other", "both", "two")
	r.tell()
	h := r.heads[1]
	if !turn(t, h) {
		t.Fatal("not all is here")
	}
	plan, err := images.PlanPack(h.library.store, map[string]images.Digest{"worker": m1digest(t, m1)})
	if err != nil {
		t.Fatal(err)
	}
	pack := writePack(t, plan)

	if _, err := r.client(0).RemoveImage(t.Context(), "worker", true, false); err != nil {
		t.Fatal(err)
	}
	if _, err := r.heads[0].library.resolve("worker"); err != nil {
		t.Errorf("a dry run has removed it: %v", err)
	}
	w := h.db.Watch(state.KindTag)
	defer w.Close()
	if _, err := r.client(0).RemoveImage(t.Context(), "worker", false, false); err != nil {
		t.Fatal(err)
	}
	r.tell()
	changed, err := w.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	k := &keeper{head: h, scanned: true}
	k.hold()
	defer k.drop()
	k.note(changed)
	k.tidy(t.Context())
	only := images.Blob(m1.Root.Chunks[1])
	if h.library.store.Has(only) {
		t.Error("what only the removed image used is still here")
	}
	for _, b := range append(m2.Blobs(), images.Blob{Digest: d2}) {
		if !h.library.has(b) {
			t.Errorf("%s of the other image is gone", b.Digest.Short())
		}
	}
	if _, err := h.library.resolve("worker"); !errors.Is(err, images.ErrNotFound) {
		t.Errorf("resolve: %v", err)
	}

	// A head that was off has it on its medium.
	late := r.start("h3", t.TempDir(), pack)
	r.introduce()
	turn(t, late)
	if _, err := late.library.resolve("worker"); !errors.Is(err, images.ErrNotFound) {
		t.Errorf("the medium has brought it back: %v", err)
	}
	if list, err := late.images(); err != nil || len(list) != 1 || list[0].Tag != "other" {
		t.Errorf("images: %+v, %v", list, err)
	}
}

func m1digest(t *testing.T, m images.Manifest) images.Digest {
	t.Helper()
	_, d, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func writePack(t *testing.T, plan *images.PackPlan) string {
	t.Helper()
	body, err := plan.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "pack")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// A head that was off while an image was removed sets its blobs aside when it starts, and an image that is wanted again
// is revived instead of sent again.
func TestUnreferencedAreSetAside(t *testing.T) {
	r := newRing(t, "h1", "h2")
	d, m := tagged(t, r.heads[0], "worker", "one", "two")
	r.tell()
	h := r.heads[1]
	if !turn(t, h) {
		t.Fatal("not all is here")
	}
	if _, err := r.client(0).RemoveImage(t.Context(), "worker", false, false); err != nil {
		t.Fatal(err)
	}
	r.tell()
	k := &keeper{head: h}
	k.hold()
	h.publishTags(t.Context())
	k.tidy(t.Context())
	k.drop()
	old, err := r.client(1).Aside(t.Context())
	if err != nil || !k.scanned || old.Files != len(m.Blobs())+1 || old.Bytes == 0 {
		t.Errorf("set aside: %+v, %v; want %d files", old, err, len(m.Blobs())+1)
	}
	// It is tagged again on h1 alone, which has not cleared it away yet; then h1 loses it.
	if _, err := r.client(0).TagImage(t.Context(), "again", wire.ImageChange{Image: string(d)}); err != nil {
		t.Fatal(err)
	}
	r.tell()
	if err := os.RemoveAll(filepath.Join(r.heads[0].library.store.Dir(), "blobs")); err != nil {
		t.Fatal(err)
	}
	if !turn(t, h) {
		t.Errorf("not revived: %+v", h.fetching())
	}
	if old, err := r.client(1).RemoveAside(t.Context()); err != nil || old.Files != 0 {
		t.Errorf("still set aside: %+v, %v", old, err)
	}
}

// A damaged blob is set aside and comes from the other head, while the machine that asked for it is told to ask again.
func TestDamagedBlobIsReplaced(t *testing.T) {
	r := newRing(t, "h1", "h2")
	_, m := tagged(t, r.heads[0], "worker", "one", "two")
	r.tell()
	h := r.heads[1]
	if !turn(t, h) {
		t.Fatal("not all is here")
	}
	chunk := m.Root.Chunks[0]
	path := filepath.Join(h.library.store.Dir(), "blobs", chunk.Digest.Hex()[:2], chunk.Digest.Hex())
	if err := os.WriteFile(path, []byte("eno"), 0o644); err != nil {
		t.Fatal(err)
	}
	w := r.worker(1)
	get := func() (string, error) {
		body, _, err := w.Blob(t.Context(), chunk.Digest)
		if err != nil {
			return "", err
		}
		defer body.Close()
		data, err := io.ReadAll(body)
		return string(data), err
	}
	if text, err := get(); err == nil && text != "one" {
		t.Errorf("a machine was given %q", text)
	}
	if text, err := get(); err != nil || text != "one" {
		t.Errorf("the second time: %q, %v", text, err)
	}
	if data, err := os.ReadFile(path + ".old.00"); err != nil || string(data) != "eno" {
		t.Errorf("what was wrong is not kept: %q, %v", data, err)
	}
}

// The store's and the medium's tags are the state's when the state has never had them, and no update of it later.
func TestMediumIsNoUpdate(t *testing.T) {
	r := newRing(t)
	old, err := images.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	d, _ := testImage(t, old, "worker", "of the medium")
	plan, err := images.PlanPack(old, map[string]images.Digest{"worker": d})
	if err != nil {
		t.Fatal(err)
	}
	dir, pack := t.TempDir(), writePack(t, plan)
	h := r.start("h1", dir, pack)
	// A solo head serves its medium before it has written anything.
	if got, err := h.library.resolve("worker"); got != d || err != nil {
		t.Errorf("before: %s, %v", got, err)
	}
	if !turn(t, h) {
		t.Error("the medium is not all here")
	}
	tag, err := r.client(0).Image(t.Context(), "worker")
	if now, _ := tag.Now(); err != nil || now.Digest != d || now.Source != "medium of h1" {
		t.Errorf("published: %+v, %v", tag, err)
	}
	newer, _ := tagged(t, h, "worker", "newer")
	list, err := r.client(0).Images(t.Context())
	if err != nil || len(list) != 1 || list[0].Digest != newer || list[0].Note != "" {
		t.Errorf("updated: %+v, %v", list, err)
	}
	h.db.Close()

	// The same state with another medium.
	other, _ := testImage(t, old, "worker", "of a newer medium")
	if plan, err = images.PlanPack(old, map[string]images.Digest{"worker": other}); err != nil {
		t.Fatal(err)
	}
	h = r.start("h1", dir, writePack(t, plan))
	turn(t, h)
	list, err = r.client(1).Images(t.Context())
	if err != nil || len(list) != 1 || list[0].Digest != newer || !strings.Contains(list[0].Note, "masthead image tag "+string(other)+" worker") {
		t.Errorf("with another medium: %+v, %v", list, err)
	}
	changed, err := r.client(1).TagImage(t.Context(), "worker", wire.ImageChange{Image: string(other)})
	if err != nil || changed.Old != newer || changed.New != other {
		t.Errorf("taken over: %+v, %v", changed, err)
	}
}

// An upload of what is missing, verified, then the tag.
func TestUpload(t *testing.T) {
	r := newRing(t, "h1")
	h, c, ctx := r.heads[0], r.client(0), t.Context()
	from, err := images.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	d, m := testImage(t, from, "worker", "one", "two")
	data, _, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	manifest := images.Blob{Digest: d, Size: int64(len(data))}
	if _, err := c.Lacks(ctx, d); statusOf(err) != http.StatusNotFound {
		t.Errorf("without its manifest: %v", err)
	}
	wrong := bytes.Clone(data)
	wrong[0] ^= 1
	if err := c.PutBlob(ctx, manifest, bytes.NewReader(wrong)); statusOf(err) != http.StatusBadRequest || h.library.has(manifest) {
		t.Errorf("wrong bytes: %v", err)
	}
	if err := c.PutBlob(ctx, manifest, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.TagImage(ctx, "worker", wire.ImageChange{Image: string(d)}); statusOf(err) != http.StatusConflict {
		t.Errorf("a tag of half an image: %v", err)
	}
	k := &keeper{head: h, collect: true}
	defer k.drop()
	k.tidy(ctx) // in the middle of it nothing is cleared away
	missing, err := c.Lacks(ctx, d)
	if err != nil || len(missing) != len(m.Blobs()) {
		t.Fatalf("missing: %v, %v", missing, err)
	}
	for _, b := range missing {
		body, _, err := from.Open(b.Digest)
		if err == nil {
			err = c.PutBlob(ctx, b, body)
			body.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	k.tidy(ctx)
	changed, err := c.TagImage(ctx, "worker", wire.ImageChange{Image: string(d), Source: "worker.pack"})
	if err != nil || changed.New != d || !changed.Applied {
		t.Errorf("tag: %+v, %v", changed, err)
	}
	k.tidy(ctx)
	if !k.scanned || k.collect {
		t.Error("nothing was looked through after the upload")
	}
	if missing, err := c.Lacks(ctx, d); err != nil || len(missing) != 0 {
		t.Errorf("afterwards %v are missing, %v", missing, err)
	}
	stranger := r.clientOf(0, "")
	if err := stranger.PutBlob(ctx, manifest, bytes.NewReader(data)); statusOf(err) != http.StatusUnauthorized {
		t.Errorf("a stranger sends: %v", err)
	}
	if err := r.worker(0).PutBlob(ctx, manifest, bytes.NewReader(data)); statusOf(err) != http.StatusForbidden {
		t.Errorf("a worker sends: %v", err)
	}
}

// The image of a node that runs stays, tag or not.
func TestRunningImageStays(t *testing.T) {
	r := newRing(t, "h1")
	h := r.heads[0]
	d, m := tagged(t, h, "worker", "one")
	w := r.worker(0)
	if err := w.Report(t.Context(), wire.Report{Boot: "boot", MAC: "52:54:00:77:01:00", Uptime: 3,
		Stages: []wire.StageResult{{Stage: wire.StageUp, Outcome: wire.OutcomeDone, At: 3}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.client(0).RemoveImage(t.Context(), "worker", false, true); err != nil {
		t.Fatal(err)
	}
	for _, k := range []*keeper{{head: h, scanned: true, collect: true}, {head: h}} {
		h.untag("worker")
		k.tidy(t.Context())
		k.drop()
	}
	for _, b := range append(m.Blobs(), images.Blob{Digest: d}) {
		if !h.library.has(b) {
			t.Errorf("%s of the running image is gone", b.Digest.Short())
		}
	}
	// When nothing runs it any more it goes.
	if err := r.client(0).RemoveNode(t.Context(), "w00"); err != nil {
		t.Fatal(err)
	}
	for _, rec := range h.db.List(state.KindBoot, "") {
		if _, err := h.db.Apply(t.Context(), ownOrigin, state.Delete(state.KindBoot, rec.Key.Name)); err != nil {
			t.Fatal(err)
		}
	}
	k := &keeper{head: h, scanned: true, collect: true}
	defer k.drop()
	k.tidy(t.Context())
	if h.library.has(images.Blob{Digest: d}) {
		t.Error("an image that nothing needs is still here")
	}
}

// One folder for all heads: nobody moves anything in it.
func TestSharedFolder(t *testing.T) {
	dir := t.TempDir()
	s, err := images.OpenStore(filepath.Join(dir, ImagesDir))
	if err == nil {
		_, err = s.PutBytes([]byte("of another head"))
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(s.Dir(), SharedMark), nil, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	r := newRing(t)
	h := r.start("h1", dir, "")
	r.introduce()
	k := &keeper{head: h, scanned: h.library.shared, collect: true}
	defer k.drop()
	k.tidy(t.Context())
	if !s.Has(images.Blob{Digest: images.DigestOf([]byte("of another head")), Size: 15}) {
		t.Error("a blob of another head is gone")
	}
	if _, err := r.client(0).RemoveAside(t.Context()); statusOf(err) != http.StatusConflict {
		t.Errorf("remove what was set aside: %v", err)
	}
}
