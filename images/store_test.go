package images

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// testImage stores a small image whose content is drawn from seed, and gives its manifest.
func testImage(t testing.TB, s *Store, name, seed string) (Manifest, Digest) {
	t.Helper()
	put := func(text string) Blob {
		b, err := s.PutBytes([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	m := Manifest{
		Format: ManifestFormat, Name: name, Role: RoleWorker, Arch: "amd64", KernelRelease: "6.12",
		Kernel: put("kernel"), Initramfs: put("initramfs" + seed), Init: "/sbin/init",
		Loaders: map[string]Blob{"undionly.kpxe": put("loader")},
		Root:    Root{Size: 3*4096 + 10, ChunkSize: 4096, Chunks: []Chunk{Chunk(put("c0" + seed)), {}, Chunk(put("c0" + seed)), Chunk(put("c3"))}},
	}
	d, err := s.PutManifest(m)
	if err != nil {
		t.Fatal(err)
	}
	return m, d
}

func TestStoreRoundTrip(t *testing.T) {
	s, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	m, d := testImage(t, s, "worker", "1")
	got, err := s.Manifest(d)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, got); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
	if n := len(m.Blobs()); n != 5 {
		t.Errorf("%d blobs, want 5: kernel, initramfs, loader, two distinct chunks", n)
	}
	if _, _, err := s.Open(DigestOf([]byte("absent"))); !errors.Is(err, ErrNotFound) {
		t.Errorf("open an absent blob: %v, want ErrNotFound", err)
	}
	if _, _, err := s.Open("sha256:../../etc/passwd"); !errors.Is(err, ErrNotFound) {
		t.Errorf("open a path: %v, want ErrNotFound", err)
	}
	if _, err := s.PutVerified(strings.NewReader("x"), DigestOf([]byte("y"))); err == nil {
		t.Error("a blob with the wrong digest was stored")
	}
	if left, _ := os.ReadDir(filepath.Join(s.Dir(), "tmp")); len(left) != 0 {
		t.Errorf("temporary files left: %v", left)
	}
}

func TestStoreNoticesDamage(t *testing.T) {
	s, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	_, d := testImage(t, s, "worker", "1")
	if err := os.WriteFile(s.path(d), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Manifest(d); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("read a damaged manifest: %v", err)
	}
}

func TestTagsHistoryAndCollect(t *testing.T) {
	s, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	_, d1 := testImage(t, s, "worker", "1")
	_, d2 := testImage(t, s, "worker", "2")
	_, d3 := testImage(t, s, "other", "3")
	for _, d := range []Digest{d1, d2, d2} {
		if err := s.Tag("worker", d); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Tag("worker", DigestOf([]byte("nothing"))); !errors.Is(err, ErrNotFound) {
		t.Errorf("tag an absent image: %v", err)
	}
	if err := s.Tag("../x", d1); err == nil {
		t.Error("a tag with a path was accepted")
	}
	history, err := s.History("worker")
	if diff := cmp.Diff([]Digest{d1, d2}, history); diff != "" || err != nil {
		t.Errorf("history: %v (-want +got):\n%s", err, diff)
	}
	if got, err := s.Resolve("worker"); got != d2 || err != nil {
		t.Errorf("resolve: %s, %v", got, err)
	}
	if freed, err := s.Collect(Roots{}); err != nil || freed == 0 {
		t.Errorf("collect freed %d, %v", freed, err)
	}
	if _, err := s.Manifest(d3); !errors.Is(err, ErrNotFound) {
		t.Errorf("an image without a tag survived: %v", err)
	}
	for _, d := range []Digest{d1, d2} {
		m, err := s.Manifest(d)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range m.Blobs() {
			if !s.Has(b) {
				t.Errorf("blob %s of %s was collected", b.Digest.Short(), d.Short())
			}
		}
	}
}

func TestImportMendsWhatIsDamaged(t *testing.T) {
	s, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	m, d := testImage(t, s, "worker", "1")
	data := packBytes(t, s, map[string]Digest{"worker": d})
	p, err := OpenPack(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.path(m.Kernel.Digest), []byte("KERNEL"), 0o644); err != nil { // of the same size
		t.Fatal(err)
	}
	if err := s.Import(p); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadBlob(s, m.Kernel.Digest, 100); string(got) != "kernel" {
		t.Errorf("after the import the kernel is %q, %v", got, err)
	}
}

func TestCollectKeepsAwayFromBuilds(t *testing.T) {
	s, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	release, err := s.Hold()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutBytes([]byte("of a build under way")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Collect(Roots{}); !errors.Is(err, ErrBusy) {
		t.Errorf("collect during a build: %v, want ErrBusy", err)
	}
	release()
	if err := os.WriteFile(filepath.Join(s.Dir(), "tmp", "put-1-1"), []byte("left by a process that was killed"), 0o644); err != nil {
		t.Fatal(err)
	}
	if freed, err := s.Collect(Roots{}); freed != 20+33 || err != nil {
		t.Errorf("collect freed %d, %v; want 53: the blob without a tag and what was left", freed, err)
	}
}

func packBytes(t testing.TB, s *Store, tags map[string]Digest) []byte {
	t.Helper()
	plan, err := PlanPack(s, tags)
	if err != nil {
		t.Fatal(err)
	}
	r, err := plan.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(data)) != plan.Size() {
		t.Fatalf("pack of %d bytes, planned %d", len(data), plan.Size())
	}
	return data
}

func TestPack(t *testing.T) {
	s, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	m, d := testImage(t, s, "worker", "1")
	_, d2 := testImage(t, s, "head", "2")
	tags := map[string]Digest{"worker": d, "head": d2}
	data := packBytes(t, s, tags)
	if !bytes.Equal(data, packBytes(t, s, tags)) {
		t.Error("two packs of the same images differ")
	}
	p, err := OpenPack(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tags, p.Tags()); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	got, err := ReadManifest(p, d)
	if diff := cmp.Diff(m, got); diff != "" || err != nil {
		t.Errorf("manifest: %v (-want +got):\n%s", err, diff)
	}
	for _, b := range m.Blobs() {
		if _, err := ReadBlob(p, b.Digest, 1<<20); err != nil {
			t.Error(err)
		}
	}

	if first := p.Blobs()[0].Digest; first != tags["head"] { // "head" comes first, and its manifest before the rest
		t.Errorf("the first blob is %s, want %s", first.Short(), tags["head"].Short())
	}

	short := data[:len(data)-1]
	if _, err := OpenPack(bytes.NewReader(short), int64(len(short))); !errors.Is(err, ErrTruncated) {
		t.Errorf("a pack that lacks its last byte: %v, want ErrTruncated", err)
	}
	flipped := bytes.Clone(data)
	flipped[packHeaderSize+5] ^= 1
	if _, err := OpenPack(bytes.NewReader(flipped), int64(len(flipped))); err == nil {
		t.Error("a flipped bit in the index went unnoticed")
	}
	flipped = bytes.Clone(data)
	flipped[len(flipped)-1] ^= 1 // in the last blob
	p, err = OpenPack(bytes.NewReader(flipped), int64(len(flipped)))
	if err != nil {
		t.Fatal(err)
	}
	damaged := 0
	for _, b := range p.Blobs() {
		if _, err := ReadBlob(p, b.Digest, 1<<20); err != nil {
			damaged++
		}
	}
	if damaged != 1 {
		t.Errorf("%d damaged blobs found, want 1", damaged)
	}
}

func FuzzOpenPack(f *testing.F) {
	s, err := OpenStore(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	_, d := testImage(f, s, "worker", "1")
	f.Add(packBytes(f, s, map[string]Digest{"worker": d}))
	f.Add([]byte(packMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := OpenPack(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		for _, b := range p.Blobs() {
			r, size, err := p.Open(b.Digest)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); err != nil || int64(len(got)) != size {
				t.Fatalf("blob of %d bytes, read %d: %v", size, len(got), err)
			}
		}
	})
}

func FuzzDecodeManifest(f *testing.F) {
	s, err := OpenStore(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	m, _ := testImage(f, s, "worker", "1")
	data, _, err := m.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	m.Root = Root{Size: 12 << 10, ChunkSize: 8 << 10, Lengths: []int64{4096, 8192}, Chunks: []Chunk{m.Root.Chunks[0], {}}}
	if data, _, err = m.Encode(); err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"format":3}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := DecodeManifest(data)
		if err != nil {
			return
		}
		again, d, err := m.Encode()
		if err != nil {
			t.Fatalf("decoded, but does not encode: %v", err)
		}
		m2, err := VerifyManifest(again, d)
		if diff := cmp.Diff(m, m2); diff != "" || err != nil {
			t.Fatalf("changes by a round trip: %v\n%s", err, diff)
		}
		from := m.Root.Offsets()
		for i := range m.Root.Chunks {
			if n := m.Root.ChunkLen(i); n <= 0 || n > m.Root.ChunkSize {
				t.Fatalf("chunk %d of %d bytes", i, n)
			}
			if from.Chunk(from[i]) != i || from.Chunk(from[i+1]-1) != i {
				t.Fatalf("chunk %d is not found from %d to %d", i, from[i], from[i+1])
			}
		}
		if from[len(from)-1] != m.Root.Size {
			t.Fatalf("chunks up to %d of %d", from[len(from)-1], m.Root.Size)
		}
	})
}
