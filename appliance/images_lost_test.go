package appliance

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"masthead/appliance/registry"
	"masthead/appliance/state"
	"masthead/images"
	"masthead/node/wire"
	"masthead/vmtest/prerequisite"
)

// medium writes a pack with one image under the tag worker.
func medium(t *testing.T, texts ...string) (string, images.Digest) {
	t.Helper()
	s, err := images.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	d, _ := testImage(t, s, "worker", texts...)
	plan, err := images.PlanPack(s, map[string]images.Digest{"worker": d})
	if err != nil {
		t.Fatal(err)
	}
	return writePack(t, plan), d
}

// insert is a head that was started from another medium.
func insert(t *testing.T, h *Head, pack string) {
	t.Helper()
	p, err := images.OpenPackFile(pack)
	if err != nil {
		t.Fatal(err)
	}
	h.library.pack = p
}

func imageEvents(h *Head) (all []string) {
	for _, e := range h.reg.Log().Last(statusEvents) {
		if e.Kind == "image" {
			all = append(all, e.Text)
		}
	}
	return all
}

// A head without others that is started from a new medium has the new medium's images, and from the old one those again.
func TestNewMediumOfALoneHead(t *testing.T) {
	oldPack, older := medium(t, "old")
	newPack, newer := medium(t, "new")
	dir := t.TempDir()
	r := newRing(t)
	h := r.start("h1", dir, oldPack)
	if !turn(t, h) {
		t.Fatal("the medium is not all here")
	}
	_, m := tagged(t, h, "other", "removed later")
	h.db.Close()

	h = r.start("h1", dir, newPack)
	c := r.client(1)
	find := func() wire.Image {
		t.Helper()
		list, err := c.Images(t.Context())
		i := slices.IndexFunc(list, func(i wire.Image) bool { return i.Tag == "worker" })
		if err != nil || i < 0 {
			t.Fatalf("images: %+v, %v", list, err)
		}
		return list[i]
	}
	if got := find(); got.Digest != older || !strings.Contains(got.Note, "cannot be used") || !strings.Contains(got.Note, "masthead image tag "+string(newer)+" worker") {
		t.Errorf("before: %+v; want it listed, with what helps", got)
	}
	if got := h.library.defaultImage(); got == "worker" {
		t.Error("an image that cannot be used is the default")
	}
	turn(t, h)
	if got := find(); got.Digest != newer || got.History != 2 || got.Note != "" || got.Source != "medium of h1" {
		t.Errorf("with the new medium: %+v", got)
	}
	if got, err := h.library.resolve("worker"); got != newer || err != nil {
		t.Errorf("resolve: %s, %v", got, err)
	}
	want := fmt.Sprintf("image worker: %s → %s, which the medium of h1 has", older.Short(), newer.Short())
	if events := imageEvents(h); !slices.ContainsFunc(events, func(e string) bool { return strings.HasPrefix(e, want) }) {
		t.Errorf("events %q, want %q", events, want)
	}
	// The version that is nowhere is no trouble, and keeps nothing from being cleared away.
	if !turn(t, h) || len(h.fetching()) != 0 {
		t.Errorf("still fetching %+v", h.fetching())
	}
	if _, err := c.RollbackImage(t.Context(), "worker", wire.ImageChange{}); statusOf(err) != http.StatusConflict {
		t.Errorf("rollback to what is nowhere: %v", err)
	}
	if _, err := c.RemoveImage(t.Context(), "other", false, false); err != nil {
		t.Fatal(err)
	}
	k := &keeper{head: h, collect: true}
	k.hold()
	defer k.drop()
	h.untag("other")
	k.tidy(t.Context())
	if !k.scanned || k.collect || h.library.store.Has(images.Blob(m.Root.Chunks[0])) {
		t.Errorf("scanned %t, to be cleared %t; or the removed image is still here", k.scanned, k.collect)
	}

	insert(t, h, oldPack)
	turn(t, h)
	if got := find(); got.Digest != older || got.History != 3 {
		t.Errorf("with the old medium again: %+v", got)
	}
}

// With other heads a new medium is an update only where they all say that they do not have the old image.
func TestNewMediumAmongOthers(t *testing.T) {
	oldPack, older := medium(t, "old")
	newPack, newer := medium(t, "new")
	for _, tt := range []struct {
		name    string
		fetched bool // by the other head
		off     bool // the other head
		want    images.Digest
	}{
		{"it has the old image", true, false, older},
		{"it does not answer", false, true, older},
		{"it has nothing", false, false, newer},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRing(t)
			h := r.start("h1", t.TempDir(), oldPack)
			r.start("h2", t.TempDir(), "")
			r.introduce()
			if !turn(t, h) {
				t.Fatal("the medium is not all here")
			}
			r.tell()
			if tt.fetched && !turn(t, r.heads[1]) {
				t.Fatal("the other head has not fetched it")
			}
			insert(t, h, newPack)
			if tt.off {
				r.srvs[1].Close()
			}
			turn(t, h)
			list, err := r.client(0).Images(t.Context())
			if err != nil || len(list) != 1 || list[0].Digest != tt.want {
				t.Fatalf("%+v, %v; want %s", list, err, tt.want.Short())
			}
			if note := strings.Contains(list[0].Note, "masthead image tag "+string(newer)); note != (tt.want == older) {
				t.Errorf("note %q", list[0].Note)
			}
		})
	}
}

func TestSuccessor(t *testing.T) {
	version := func(d images.Digest) wire.ImageVersion { return wire.ImageVersion{Digest: d} }
	tag := wire.ImageTag{Versions: []wire.ImageVersion{version("a"), version("b")}}
	store, medium, back := offer{"c", "store"}, offer{"d", "medium"}, offer{"a", "store"}
	for _, tt := range []struct {
		name   string
		offers []offer
		parts  bool
		want   offer
		ok     bool
	}{
		{"nothing", nil, false, offer{}, false},
		{"the store's first", []offer{store, medium}, false, store, true},
		{"new before old", []offer{back, medium}, false, medium, true},
		{"old is better than nothing", []offer{back}, false, back, true},
		{"old is no better than parts", []offer{back}, true, offer{}, false},
		{"new is", []offer{back, medium}, true, medium, true},
	} {
		if got, ok := successor(tag, tt.offers, tt.parts); got != tt.want || ok != tt.ok {
			t.Errorf("%s: %v, %t; want %v, %t", tt.name, got, ok, tt.want, tt.ok)
		}
	}
}

// What every hint names as the remedy for a full disk works on a full disk.
func TestRemoveAnImageOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=40m"); err != nil {
		prerequisite.Missing(t, "a tmpfs to fill: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	r := newRing(t, "other")
	h := r.start("h1", dir, "")
	r.introduce()
	for _, name := range []string{"here", "there"} {
		var texts []string
		for i := range 5 {
			texts = append(texts, strings.Repeat(fmt.Sprintf("%s %05d, ", name, i), 80_000))
		}
		tagged(t, h, name, texts...)
	}
	tagged(t, h, "stays", "small")
	r.tell()

	hog, err := os.Create(filepath.Join(dir, "hog"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = hog.Write(bytes.Repeat([]byte{1}, 4096))
	}
	hog.Close()
	c := r.client(1)
	write := func(i int) error {
		op, err := state.Put(state.KindNode, fmt.Sprintf("n%d", i), strings.Repeat("x", 10_000))
		if err == nil {
			_, err = h.store().Apply(t.Context(), ownOrigin, op)
		}
		return err
	}
	for i := 0; h.db.ReadOnly() == nil; i++ {
		if err := write(i); i > 1000 || err != nil && !errors.Is(err, state.ErrReadOnly) {
			t.Fatalf("the disk does not become full: %v", err)
		}
	}
	if _, err := c.TagImage(t.Context(), "more", wire.ImageChange{Image: "stays"}); statusOf(err) != http.StatusInsufficientStorage {
		t.Errorf("a new tag: %v", err)
	}

	w := h.db.Watch(state.KindTag)
	defer w.Close()
	k := &keeper{head: h, scanned: true}
	k.hold()
	defer k.drop()
	free := func() int64 {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			t.Fatal(err)
		}
		return int64(st.Bavail) * st.Bsize
	}
	before := free()
	if changed, err := c.RemoveImage(t.Context(), "here", false, false); err != nil || !changed.Applied {
		t.Fatalf("remove an image on a full disk: %+v, %v", changed, err)
	}
	// And what another head removes, among what it writes else.
	if _, err := r.client(0).RemoveImage(t.Context(), "there", false, false); err != nil {
		t.Fatal(err)
	}
	op, err := state.Put(state.KindNode, "elsewhere", strings.Repeat("x", 10_000))
	if err == nil {
		_, err = r.heads[0].db.Apply(t.Context(), ownOrigin, op)
	}
	if err != nil {
		t.Fatal(err)
	}
	records, err := r.heads[0].db.Records([]state.Key{{Kind: state.KindNode, Name: "elsewhere"}, {Kind: state.KindTag, Name: "there"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.db.Merge(t.Context(), records); !errors.Is(err, state.ErrReadOnly) {
		t.Errorf("merge on a full disk: %v", err)
	}
	if list, err := c.Images(t.Context()); err != nil || len(list) != 1 || list[0].Tag != "stays" {
		t.Errorf("images: %+v, %v", list, err)
	}
	for range 2 {
		changed, err := w.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		k.note(changed)
		if len(changed) == 2 {
			break
		}
	}
	k.tidy(t.Context())
	if freed := free() - before; freed < 8_000_000 {
		t.Errorf("%d bytes freed", freed)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) { // it tries once a second
		if err := write(2000); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("with room again: %v", err)
		}
	}
	if body, _, err := h.library.Open(images.DigestOf([]byte("small"))); err != nil {
		t.Error(err)
	} else if data, err := io.ReadAll(body); body.Close() != nil || err != nil || string(data) != "small" {
		t.Errorf("what stays: %q, %v", data, err)
	}
}

func TestRemoveAnImageInUse(t *testing.T) {
	r := newRing(t, "h1")
	h, c := r.heads[0], r.client(0)
	tagged(t, h, "stable", "one")
	stable := "stable"
	check := func(try string, users ...string) {
		t.Helper()
		_, err := c.RemoveImage(t.Context(), "stable", false, false)
		var p *wire.ProblemError
		if want := "image stable is in use: " + strings.Join(users, ", "); !errors.As(err, &p) || p.Status != http.StatusConflict || p.Detail != want || p.Try() != try+"; or masthead image rm stable --force" {
			t.Errorf("%v\n want %s\n try: %s", err, want, try)
		}
	}
	r.worker(0)
	check("masthead head settings --default-image OTHER", "by 1 node that names no image, as the only one for workers")
	if _, err := c.ChangeNode(t.Context(), "w00", wire.NodeChange{Image: &stable}); err != nil {
		t.Fatal(err)
	}
	check("masthead node set w00 --image OTHER", "by node w00")
	if _, err := c.ChangeSettings(t.Context(), wire.SettingsChange{DefaultImage: &stable}); err != nil {
		t.Fatal(err)
	}
	check("masthead head settings --default-image OTHER", "by every node that names no image", "by node w00")
	if changed, err := c.RemoveImage(t.Context(), "stable", false, true); err != nil || !changed.Applied {
		t.Errorf("by force: %+v, %v", changed, err)
	}
}

// The upgrade as an administrator does it: the same state disk, another ISO.
func TestNewMediumOfALiveHead(t *testing.T) {
	oldPack, older := medium(t, "old")
	newPack, newer := medium(t, "new")
	h := newLiveHead(t, "head1", 1)
	h.cfg.Pack = oldPack
	h.on()
	h.untilImages("worker " + older.Short())
	h.until("the state has the tag", func() error {
		_, err := h.Image(t.Context(), "worker")
		return err
	})
	h.off()
	h.cfg.Pack = newPack
	h.on()
	h.untilImages("worker " + newer.Short())
	tag, err := h.Image(t.Context(), "worker")
	if err != nil || len(tag.Versions) != 2 || tag.Versions[0].Digest != older {
		t.Errorf("history: %+v, %v", tag, err)
	}
}

// An image for heads is nothing that a worker can boot.
func TestHeadImageIsNotForNodes(t *testing.T) {
	r := newRing(t, "h1")
	h, c := r.heads[0], r.client(0)
	tagged(t, h, "worker", "one")
	_, m := testImage(t, h.library.store, "head", "one")
	m.Role = images.RoleHead
	d, err := h.library.store.PutManifest(m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.TagImage(t.Context(), "head", wire.ImageChange{Image: string(d)}); err != nil {
		t.Fatal(err)
	}
	r.worker(0)
	for _, ref := range []string{"head", string(d)} {
		_, err := c.ChangeNode(t.Context(), "w00", wire.NodeChange{Image: &ref, DryRun: true})
		if statusOf(err) != http.StatusBadRequest || !strings.Contains(err.Error(), registry.ErrHeadImage.Error()) {
			t.Errorf("%s: %v", ref, err)
		}
	}
}
