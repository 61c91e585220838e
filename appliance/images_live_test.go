package appliance

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"masthead/appliance/fetch"
	"masthead/images"
	"masthead/node/wire"
	"masthead/vmtest/prerequisite"
)

// upload sends an image to a head as the command does, and tags it.
func upload(t *testing.T, c *wire.Client, name string, texts ...string) (images.Digest, images.Manifest) {
	t.Helper()
	from, err := images.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	d, m := testImage(t, from, name, texts...)
	data, _, err := m.Encode()
	if err == nil {
		err = c.PutBlob(t.Context(), images.Blob{Digest: d, Size: int64(len(data))}, bytes.NewReader(data))
	}
	if err != nil {
		t.Fatal(err)
	}
	missing, err := c.Lacks(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range missing {
		body, _, err := from.Open(b.Digest)
		if err == nil {
			err = c.PutBlob(t.Context(), b, body)
			body.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.TagImage(t.Context(), name, wire.ImageChange{Image: string(d)}); err != nil {
		t.Fatal(err)
	}
	return d, m
}

func (h *liveHead) untilImages(want string) {
	h.t.Helper()
	h.until("its images are "+want, func() error {
		list, err := h.Images(h.t.Context())
		var have []string
		for _, i := range list {
			text := i.Tag + " " + i.Digest.Short()
			if i.Missing > 0 {
				text += fmt.Sprintf(" without %d bytes", i.Missing)
			}
			have = append(have, text)
		}
		if got := strings.Join(have, ", "); err == nil && got != want {
			err = fmt.Errorf("they are %s", got)
		}
		return err
	})
}

func (h *liveHead) holds(b images.Blob) bool {
	h.t.Helper()
	s, err := images.OpenStore(filepath.Join(h.cfg.StateDir, ImagesDir))
	if err != nil {
		h.t.Fatal(err)
	}
	return s.Has(b)
}

// Two whole heads: what one is given the other fetches by itself; a head that joins gives up its own images; one that
// was off while an image was removed sets it aside, and one that ran removes it.
func TestImagesOfLiveHeads(t *testing.T) {
	h1, h2 := startHead(t, "head1", 1), startHead(t, "head2", 2)
	own, ownManifest := upload(t, h2.Client, "own", "of head2 alone")
	h2.untilImages("own " + own.Short())
	d, m := upload(t, h1.Client, "worker", "one", "two", "three")
	if _, err := h2.JoinHead(t.Context(), wire.JoinStart{Token: h1.token(), Discard: true}); err != nil {
		t.Fatal(err)
	}
	h2.untilState(wire.MemberHead)
	h2.untilImages("worker " + d.Short())
	h2.until("it holds the image", func() error {
		for _, b := range m.Blobs() {
			if !h2.holds(b) {
				return fmt.Errorf("without %s", b.Digest.Short())
			}
		}
		return nil
	})
	h2.until("its own image is set aside", func() error {
		a, err := h2.Aside(t.Context())
		if err == nil && a.Files == 0 {
			err = errors.New("nothing is")
		}
		return err
	})
	if h2.holds(images.Blob(ownManifest.Root.Chunks[0])) {
		t.Error("a blob of its own image has its name still")
	}
	h1.untilImages("worker " + d.Short())

	newer, m2 := upload(t, h2.Client, "worker", "one", "two", "four") // given to the other one
	h1.untilImages("worker " + newer.Short())

	second, _ := upload(t, h1.Client, "second", "five")
	h2.untilImages("second " + second.Short() + ", worker " + newer.Short())
	h2.off()
	if _, err := h1.RemoveImage(t.Context(), "worker", false, false); err != nil {
		t.Fatal(err)
	}
	only := images.Blob(m2.Root.Chunks[2])
	h1.until("it has removed the image", func() error {
		if h1.holds(only) {
			return errors.New("it is still there")
		}
		return nil
	})
	h2.on()
	h2.untilImages("second " + second.Short())
	h2.until("it has set the image aside", func() error {
		if h2.holds(only) {
			return errors.New("it is still there")
		}
		return nil
	})
	if old, err := filepath.Glob(filepath.Join(h2.cfg.StateDir, ImagesDir, "blobs", "*", only.Digest.Hex()+".old.00")); err != nil || len(old) != 1 {
		t.Errorf("set aside: %v, %v", old, err)
	}
}

// A file is on the other head as soon as it was added.
func TestFileOfLiveHeads(t *testing.T) {
	h1, h2 := startHead(t, "head1", 1), startHead(t, "head2", 2)
	h2.join(h1)
	path := filepath.Join(t.TempDir(), "hosts") // one for both, as they run on one machine
	if _, err := sendFile(t, h2.Client, path, "127.0.0.1 localhost\n", 0o644); err != nil {
		t.Fatal(err)
	}
	for _, h := range []*liveHead{h1, h2} {
		h.until("it has the file", func() error {
			list, err := h.Files(t.Context())
			if err == nil && (len(list) != 1 || len(list[0].Differs) > 0) {
				err = fmt.Errorf("files %+v", list)
			}
			if err == nil {
				_, err = os.Stat(path)
			}
			return err
		})
		h.until("all heads are the same", func() error {
			list, err := h.FileDiff(t.Context(), "")
			if err == nil && len(list) > 0 {
				err = fmt.Errorf("differences %+v", list)
			}
			return err
		})
	}
	body, err := h1.FileBlob(t.Context(), images.DigestOf([]byte("127.0.0.1 localhost\n")))
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if data, err := io.ReadAll(body); err != nil || string(data) != "127.0.0.1 localhost\n" {
		t.Errorf("content on the head that was not given it: %q, %v", data, err)
	}
}

// A disk that is full stops the fetch with a word that says so, and machines that boot still get their chunks.
func TestFetchOntoAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=24m"); err != nil {
		prerequisite.Missing(t, "a tmpfs to fill: %v", err)
	}
	r := newRing(t, "h1")
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	h := r.start("h2", dir, "")
	r.introduce()
	var texts []string
	for i := range 40 {
		texts = append(texts, strings.Repeat(string(rune('a'+i%26))+fmt.Sprint(i), 200_000))
	}
	_, m := tagged(t, r.heads[0], "worker", texts...)
	r.tell()
	if turn(t, h) {
		t.Fatal("20 MB fit onto what is left of 24")
	}
	f := h.fetching()
	if len(f) != 1 || !strings.Contains(f[0].Waits, "the disk is full") || !strings.Contains(f[0].Waits, "free") {
		t.Errorf("fetching: %+v", f)
	}
	for _, c := range m.Root.Chunks { // more than fit
		body, _, err := h.library.Open(c.Digest)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(body)
		body.Close()
		if err != nil || images.DigestOf(data) != c.Digest {
			t.Errorf("chunk %s: %d bytes, %v", c.Digest.Short(), len(data), err)
		}
		if err := h.library.fetch.Get(t.Context(), images.Blob(c)); err != nil && !errors.Is(err, fetch.ErrFull) {
			t.Errorf("chunk %s: %v", c.Digest.Short(), err)
		}
	}
	if err := h.db.ReadOnly(); err != nil {
		t.Errorf("the images have taken the room of the state: %v", err)
	}
	// With room it goes on.
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size=128m"); err != nil {
		t.Fatal(err)
	}
	if !turn(t, h) {
		t.Errorf("still not: %+v", h.fetching())
	}
}

// Whatever is tagged, retagged, rolled back and removed on which head, nothing that a tag means or has meant is ever
// missing where it was, and in the end every head has all of it.
func TestNothingReferencedIsRemovedProperty(t *testing.T) {
	r := newRing(t, "h1", "h2", "h3")
	rapid.Check(t, func(rt *rapid.T) {
		had := map[int]map[images.Digest]bool{0: {}, 1: {}, 2: {}}
		check := func(when string) {
			for i, h := range r.heads {
				for d := range h.library.images() {
					index, ok := h.library.index(d)
					if !ok || !h.library.shelf.has(images.Blob{Digest: d}) {
						if had[i][d] {
							rt.Fatalf("%s: %s has lost manifest %s", when, h.cfg.Name, d.Short())
						}
						continue
					}
					for b, size := range index {
						if here := h.library.has(images.Blob{Digest: b, Size: size}); here {
							had[i][b] = true
						} else if had[i][b] {
							rt.Fatalf("%s: %s has lost %s", when, h.cfg.Name, b.Short())
						}
					}
					had[i][d] = true
				}
				needed := map[images.Digest]bool{} // what is needed no more may go
				for d := range h.library.images() {
					needed[d] = true
					if index, ok := h.library.index(d); ok {
						for b := range index {
							needed[b] = true
						}
					}
				}
				for d := range had[i] {
					if !needed[d] {
						delete(had[i], d)
					}
				}
			}
		}
		for range rapid.IntRange(1, 15).Draw(rt, "steps") {
			i := rapid.IntRange(0, 2).Draw(rt, "head")
			h, c := r.heads[i], r.client(i)
			name := rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "tag")
			step := rapid.SampledFrom([]string{"tag", "rollback", "remove", "tell", "bring", "start"}).Draw(rt, "step")
			switch step {
			case "tag":
				text := rapid.SampledFrom([]string{"1", "2", "3"})
				tagged(t, h, name, text.Draw(rt, "first"), text.Draw(rt, "second"))
			case "rollback":
				_, err := c.RollbackImage(t.Context(), name, wire.ImageChange{})
				if s := statusOf(err); s != 200 && s != 404 && s != 409 {
					rt.Fatal(err)
				}
			case "remove":
				_, err := c.RemoveImage(t.Context(), name, false, false)
				if s := statusOf(err); s != 200 && s != 404 {
					rt.Fatal(err)
				}
			case "tell":
				r.tell()
			case "bring":
				turn(t, h)
			case "start": // and what goes with a removed tag
				k := &keeper{head: h, collect: rapid.Bool().Draw(rt, "collect")}
				k.scanned = k.collect
				h.publishTags(t.Context())
				k.tidy(t.Context())
				k.drop()
			}
			check(step)
		}
		r.tell()
		r.tell()
		for _, h := range r.heads {
			if !turn(t, h) {
				// Only what a removal on one head and a tag on another have crossed can be nowhere.
				for _, f := range h.fetching() {
					if !strings.Contains(f.Waits, "no head has") {
						rt.Fatalf("%s: %+v", h.cfg.Name, f)
					}
				}
			}
		}
	})
}
