package rootfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	goerofs "github.com/erofs/go-erofs"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"masthead/images"
	"masthead/rootfs"
)

// mixed is data of every kind that an image has: text, noise, zeros.
func mixed(size int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	for b.Len() < size {
		switch n := 1000 + r.IntN(200_000); r.IntN(3) {
		case 0:
			b.Write(make([]byte, n))
		case 1:
			for range n / 8 {
				fmt.Fprintf(&b, "%x", r.Uint64())
			}
		default:
			b.WriteString(strings.Repeat(fmt.Sprint("line ", r.IntN(50), "\n"), n/8))
		}
	}
	return b.Bytes()[:size]
}

func sealBytes(t *testing.T, data []byte, store *images.Store, opts rootfs.SealOptions) images.Root {
	t.Helper()
	root, err := rootfs.Seal(context.Background(), bytes.NewReader(data), int64(len(data)), store, opts)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// TestSealIsDeterministic seals with any number of workers and finds the same, and the same as an encoder makes that
// has never seen another chunk.
func TestSealIsDeterministic(t *testing.T) {
	data := mixed(6<<20 + 8192)
	for _, level := range []rootfs.Level{zstd.SpeedFastest, zstd.SpeedDefault} {
		var want images.Root
		for _, workers := range []int{1, 2, 7} {
			got := sealBytes(t, data, openStore(t), rootfs.SealOptions{ChunkSize: 64 << 10, Level: level, Workers: workers})
			if want.Chunks == nil {
				want = got
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%d workers:\n%s", workers, diff)
			}
		}
		for i, c := range want.Chunks {
			alone := data[i*64<<10 : min((i+1)*64<<10, len(data))]
			if got := sealBytes(t, alone, openStore(t), rootfs.SealOptions{ChunkSize: 64 << 10, Level: level}).Chunks[0]; got != c {
				t.Errorf("chunk %d alone: %v, in its image %v", i, got, c)
			}
		}
	}
}

func TestOpenReadsBack(t *testing.T) {
	data := mixed(1<<20 + 4096)
	store := openStore(t)
	root := sealBytes(t, data, store, rootfs.SealOptions{ChunkSize: 64 << 10})
	r, err := rootfs.Open(root, store)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d bytes, %v: not what was sealed", len(got), err)
	}
	p := make([]byte, 100_000)
	for _, off := range []int64{0, 1, 65535, 65536, 500_001, int64(len(data)) - 5} {
		n, err := r.ReadAt(p, off)
		if want := data[off:min(off+int64(len(p)), int64(len(data)))]; !bytes.Equal(p[:n], want) || (n < len(p)) != (err == io.EOF) {
			t.Errorf("at %d: %d bytes, %v", off, n, err)
		}
	}
}

func TestZerosAreNotStored(t *testing.T) {
	store := openStore(t)
	root := sealBytes(t, make([]byte, 1<<20), store, rootfs.SealOptions{})
	for i, c := range root.Chunks {
		if !c.Zero() {
			t.Errorf("chunk %d: %v", i, c)
		}
	}
	if root.Stored() != 0 || len(root.Chunks) != 4 {
		t.Errorf("%d bytes in %d chunks", root.Stored(), len(root.Chunks))
	}
}

// TestOneFrame holds the promise of the format: one zstd frame with its content size, its window no larger than the
// chunk, no checksum and no dictionary.
func TestOneFrame(t *testing.T) {
	store := openStore(t)
	root := sealBytes(t, mixed(256<<10), store, rootfs.SealOptions{ChunkSize: 64 << 10})
	for _, c := range root.Chunks {
		if c.Zero() {
			continue
		}
		data, err := images.ReadBlob(store, c.Digest, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		var h zstd.Header
		if err := h.Decode(data); err != nil {
			t.Fatal(err)
		}
		if !h.HasFCS || h.FrameContentSize != 64<<10 || h.WindowSize > 64<<10 || h.HasCheckSum || h.DictionaryID != 0 {
			t.Errorf("frame header %+v", h)
		}
	}
}

func TestDamagedChunk(t *testing.T) {
	store := openStore(t)
	root := sealBytes(t, mixed(256<<10), store, rootfs.SealOptions{ChunkSize: 64 << 10})
	h := root.Chunks[1].Digest.Hex()
	file := filepath.Join(store.Dir(), "blobs", h[:2], h)
	stored, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	stored[len(stored)/2] ^= 1
	if err := os.WriteFile(file, stored, 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := rootfs.Open(root, store)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p := make([]byte, 10)
	if _, err := r.ReadAt(p, 0); err != nil {
		t.Errorf("the chunk before: %v", err)
	}
	if _, err := r.ReadAt(p, 64<<10); err == nil || !strings.Contains(err.Error(), "chunk 1") || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("error %v, want one that names chunk 1", err)
	}
}

// bomb is content that is not what its node announces.
type bomb struct {
	io.Reader
	closed *bool
}

func (b bomb) Close() error { *b.closed = true; return nil }

func TestBuildErrors(t *testing.T) {
	errBoom := errors.New("disk on fire")
	var closed bool
	node := func(size int64, open func() (io.ReadCloser, error)) rootfs.Node {
		return rootfs.Node{Mode: unix.S_IFREG | 0o644, Size: size, Open: open}
	}
	reader := func(r io.Reader) func() (io.ReadCloser, error) {
		return func() (io.ReadCloser, error) { return bomb{r, &closed}, nil }
	}
	for _, tt := range []struct {
		name string
		n    rootfs.Node
		want string
	}{
		{"short, inline", node(100, reader(strings.NewReader("short"))), `read "dir/bad": 95 bytes are missing of 100`},
		{"short, in blocks", node(1<<20, reader(strings.NewReader("short"))), `read "dir/bad": 1048571 bytes are missing`},
		{"fails to open", node(1, func() (io.ReadCloser, error) { return nil, errBoom }), `read "dir/bad": disk on fire`},
		{"fails to read", node(1<<20, reader(io.MultiReader(strings.NewReader("x"), errReader{errBoom}))), `read "dir/bad": disk on fire`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tree := plant(t, "a=1", "z=2")
			if err := tree.Add("dir/bad", tt.n); err != nil {
				t.Fatal(err)
			}
			closed = false
			_, err := rootfs.Build(context.Background(), tree, epoch, openStore(t), rootfs.SealOptions{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
			if tt.name != "fails to open" && !closed {
				t.Error("the content was left open")
			}
		})
	}
}

type errReader struct{ err error }

func (e errReader) Read([]byte) (int, error) { return 0, e.err }

func TestBuildIsCancelled(t *testing.T) {
	tree := rootfs.New()
	ctx, cancel := context.WithCancel(context.Background())
	endless := func() (io.ReadCloser, error) { cancel(); return io.NopCloser(noise{}), nil }
	if err := tree.Add("big", rootfs.Node{Mode: unix.S_IFREG, Size: 1 << 40, Open: endless}); err != nil {
		t.Fatal(err)
	}
	if _, err := rootfs.Build(ctx, tree, epoch, openStore(t), rootfs.SealOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// TestStoreFails stops the build when a chunk cannot be stored, without waiting for the rest.
func TestStoreFails(t *testing.T) {
	store := openStore(t)
	tree := rootfs.New()
	breaks := func() (io.ReadCloser, error) {
		os.RemoveAll(filepath.Join(store.Dir(), "tmp"))
		return io.NopCloser(noise{}), nil
	}
	if err := tree.Add("big", rootfs.Node{Mode: unix.S_IFREG, Size: 1 << 40, Open: breaks}); err != nil {
		t.Fatal(err)
	}
	if _, err := rootfs.Build(context.Background(), tree, epoch, store, rootfs.SealOptions{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

type noise struct{}

func (noise) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(rand.Uint32())
	}
	return len(p), nil
}

// forest is a tree with hard links in large and small directories.
func forest(t testing.TB) *rootfs.Tree {
	t.Helper()
	words := []string{"a/first=the content of three names", "a/big=" + string(mixed(700_000)), "big~a/big", "zz/third~a/first"}
	data := mixed(200_000)
	for i := range 300 {
		words = append(words, fmt.Sprintf("many/%03d=%s", i, data[i*500:i*600]), fmt.Sprintf("many/%03d.again~many/%03d", i, i))
	}
	return plant(t, append(words, "many/second~a/first", "many/sub/", "s>t", "many/s~s")...)
}

// TestBuildIsReproducible builds equal trees, whatever the number of workers and whatever order Go's maps have today, and
// finds in the store the chunks of the root and nothing else.
func TestBuildIsReproducible(t *testing.T) {
	var want images.Root
	for i, workers := range []int{1, 2, 5} {
		store := openStore(t)
		var done, total int64
		got, err := rootfs.Build(context.Background(), forest(t), epoch, store, rootfs.SealOptions{ChunkSize: 16 << 10, Workers: workers, Progress: func(d, n int64) { done, total = d, n }})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			want = got
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d workers:\n%s", workers, diff)
		}
		if done < got.Size/2 || total < got.Size/2 || done > total {
			t.Errorf("progress ended at %d of %d, the image has %d", done, total, got.Size)
		}
		files := 0
		filepath.WalkDir(filepath.Join(store.Dir(), "blobs"), func(_ string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				files++
			}
			return err
		})
		distinct := map[images.Digest]bool{}
		for _, c := range got.Chunks {
			if !c.Zero() {
				distinct[c.Digest] = true
			}
		}
		if files != len(distinct) {
			t.Errorf("%d files in the store for %d chunks", files, len(distinct))
		}
	}
}

// TestStreamedEqualsWritten compares the image that Build makes out of memory with the one in a file.
func TestStreamedEqualsWritten(t *testing.T) {
	store := openStore(t)
	root, err := rootfs.Build(context.Background(), forest(t), epoch, store, rootfs.SealOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := rootfs.WriteEROFS(context.Background(), f, forest(t), epoch)
	if err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	streamed, err := os.ReadFile(unseal(t, root, store))
	if err != nil {
		t.Fatal(err)
	}
	if size != int64(len(written)) || size%4096 != 0 || !bytes.Equal(written, streamed) {
		t.Errorf("%d bytes written, %d streamed, equal: %v", len(written), len(streamed), bytes.Equal(written, streamed))
	}
}

// TestHardLinksWithoutKernel reads the image with go-erofs, which needs no privileges.
func TestHardLinksWithoutKernel(t *testing.T) {
	store := openStore(t)
	tree := forest(t)
	root, err := rootfs.Build(context.Background(), tree, epoch, store, rootfs.SealOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := rootfs.Open(root, store)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	img, err := goerofs.Open(io.NewSectionReader(r, 0, r.Size()))
	if err != nil {
		t.Fatal(err)
	}
	nodes := map[*rootfs.Node]int64{}
	links := map[int64]int{}
	for p, n := range tree.All() {
		fi, err := fs.Lstat(img, p)
		if err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		st := fi.Sys().(*goerofs.Stat)
		if ino, ok := nodes[n]; ok && ino != st.Ino {
			t.Errorf("%s has inode %d, its other name %d", p, st.Ino, ino)
		}
		nodes[n] = st.Ino
		links[st.Ino]++
		if n.IsRegular() {
			want, err := fs.ReadFile(tree.FS(), p)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := fs.ReadFile(img, p); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %d bytes, %v, want %d", p, len(got), err, len(want))
			}
		}
	}
	for p, n := range tree.All() {
		if n.IsDir() {
			continue
		}
		fi, err := fs.Lstat(img, p)
		if err != nil {
			t.Fatal(err)
		}
		if st := fi.Sys().(*goerofs.Stat); st.Nlink != links[st.Ino] {
			t.Errorf("%s has a link count of %d, and %d names", p, st.Nlink, links[st.Ino])
		}
	}
}

func TestEmptyTree(t *testing.T) {
	store := openStore(t)
	root, err := rootfs.Build(context.Background(), rootfs.New(), time.Unix(0, 0), store, rootfs.SealOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if root.Size != 8192 || len(root.Chunks) != 2 {
		t.Errorf("%+v", root)
	}
}
