package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	ggcrtar "github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
)

// file is an entry of a layer, in short: "d name", "f name content", "l name target" (symbolic), "h name target" (hard).
func archive(t *testing.T, entries ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		f := strings.SplitN(e, " ", 3)
		h := &tar.Header{Name: f[1], Mode: 0o644}
		content := ""
		switch f[0] {
		case "d":
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		case "f":
			h.Typeflag = tar.TypeReg
			if len(f) > 2 {
				content = f[2]
			}
			h.Size = int64(len(content))
		case "l":
			h.Typeflag, h.Linkname = tar.TypeSymlink, f[2]
		case "h":
			h.Typeflag, h.Linkname = tar.TypeLink, f[2]
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// staticLayer is a layer as it is stored.
type staticLayer struct {
	plain, stored []byte
	mediaType     types.MediaType
}

func (l staticLayer) Digest() (v1.Hash, error) {
	h, _, err := v1.SHA256(bytes.NewReader(l.stored))
	return h, err
}
func (l staticLayer) DiffID() (v1.Hash, error) {
	h, _, err := v1.SHA256(bytes.NewReader(l.plain))
	return h, err
}
func (l staticLayer) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(l.stored)), nil
}
func (l staticLayer) Uncompressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(l.plain)), nil
}
func (l staticLayer) Size() (int64, error)                { return int64(len(l.stored)), nil }
func (l staticLayer) MediaType() (types.MediaType, error) { return l.mediaType, nil }

func gzipLayer(t *testing.T, plain []byte) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(plain)
	w.Close()
	return staticLayer{plain, b.Bytes(), types.DockerLayer}
}

func zstdLayer(t *testing.T, plain []byte) v1.Layer {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return staticLayer{plain, w.EncodeAll(plain, nil), types.OCILayerZStd}
}

func imageOf(t *testing.T, arch string, layers ...v1.Layer) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", arch
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	return img
}

// sample is three layers that have every rule of layer.md in them.
func sample(t *testing.T) v1.Image {
	t.Helper()
	return imageOf(t, "amd64",
		gzipLayer(t, archive(t,
			"d usr", "d usr/lib", "l lib usr/lib", "f usr/lib/kept one", "f usr/lib/replaced old", "f usr/lib/gone bye",
			"d opaque", "f opaque/old hidden", "d opaque/sub", "f opaque/sub/old hidden",
			"d gone.d", "f gone.d/inner x", "d became", "f became/inner x", "f became.d file", "f linked content")),
		zstdLayer(t, archive(t,
			"f lib/through the link", "f lib/replaced new", "f usr/lib/.wh.gone",
			"f opaque/new seen", "f opaque/.wh..wh..opq", "f .wh.gone.d", "f .wh.absent",
			"f became a file", "d became.d", "f became.d/inner y", "h second linked")),
		gzipLayer(t, archive(t, "f linked changed", "f gone.d again", "l loop loop", "f .wh..wh.plnk x")),
	)
}

// want is the contents of sample, after the rules.
var want = map[string]string{
	"became":           "a file",
	"became.d/inner":   "y",
	"gone.d":           "again",
	"lib":              "-> usr/lib",
	"linked":           "changed",
	"loop":             "-> loop",
	"opaque/new":       "seen",
	"second":           "content", // the other name of the file that "linked" was
	"usr/lib/kept":     "one",
	"usr/lib/replaced": "new",
	"usr/lib/through":  "the link",
}

// read gives the files and links of the image at ref.
func read(t *testing.T, ref string, opts Options) (map[string]string, error) {
	t.Helper()
	tree, err := Read(context.Background(), ref, opts)
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	got := map[string]string{}
	for p, n := range tree.All() {
		switch {
		case n.IsSymlink():
			got[p] = "-> " + n.Target
		case n.IsRegular():
			r, err := n.Open()
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			got[p] = string(data)
		}
	}
	return got, nil
}

func check(t *testing.T, ref string) {
	t.Helper()
	got, err := read(t, ref, Options{SpoolDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

// serve starts a registry on the loopback and gives its address.
func serve(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func push(t *testing.T, ref string, img v1.Image) {
	t.Helper()
	r, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(r, img); err != nil {
		t.Fatal(err)
	}
}

func TestRegistry(t *testing.T) {
	ref := serve(t) + "/cluster/root:v1"
	push(t, ref, sample(t))
	check(t, ref)

	var last, total int64
	if _, err := read(t, ref, Options{Progress: func(d, n int64) { last, total = d, n }}); err != nil {
		t.Fatal(err)
	}
	if last == 0 || last != total {
		t.Errorf("progress ended at %d of %d", last, total)
	}
	if _, err := read(t, strings.Replace(ref, "v1", "v2", 1), Options{}); err == nil || !strings.Contains(err.Error(), "v2") {
		t.Errorf("error %v for a tag that is not there", err)
	}
	if _, err := read(t, ref, Options{Arch: "arm64"}); err == nil || !strings.Contains(err.Error(), "want linux/arm64") {
		t.Errorf("error %v for another architecture", err)
	}
}

// TestIndex chooses by platform.
func TestIndex(t *testing.T) {
	other := imageOf(t, "arm64", gzipLayer(t, archive(t, "f wrong one")))
	platform := func(arch string) v1.Descriptor {
		return v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}
	}
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: other, Descriptor: platform("arm64")},
		mutate.IndexAddendum{Add: sample(t), Descriptor: platform("amd64")})
	ref := serve(t) + "/root:latest"
	r, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(r, index); err != nil {
		t.Fatal(err)
	}
	check(t, ref)

	dir := t.TempDir()
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.AppendIndex(index, layout.WithAnnotations(map[string]string{annotationRef: "v1"})); err != nil {
		t.Fatal(err)
	}
	check(t, dir)
	check(t, dir+":v1")
}

func writeLayout(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.AppendImage(sample(t), layout.WithAnnotations(map[string]string{annotationRef: "v1"})); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestLayout(t *testing.T) {
	dir := writeLayout(t)
	check(t, dir)
	check(t, dir+":v1")
	if _, err := read(t, dir+":v9", Options{}); err == nil || !strings.Contains(err.Error(), "no image v9") {
		t.Errorf("error %v for a tag that is not there", err)
	}
	l, err := layout.FromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	second := imageOf(t, "amd64", gzipLayer(t, archive(t, "f other one")))
	if err := l.AppendImage(second, layout.WithAnnotations(map[string]string{annotationRef: "v2"})); err != nil {
		t.Fatal(err)
	}
	if _, err := read(t, dir, Options{}); err == nil || !strings.Contains(err.Error(), "v1, v2") {
		t.Errorf("error %v, want one that names v1 and v2", err)
	}
	check(t, dir+":v1")
}

func TestOCIArchive(t *testing.T) {
	file := filepath.Join(t.TempDir(), "image.tar.gz")
	if out, err := exec.Command("tar", "-C", writeLayout(t), "-czf", file, ".").CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	check(t, file)
}

func TestDockerArchive(t *testing.T) {
	file := filepath.Join(t.TempDir(), "image.tar")
	tag, err := name.NewTag("example.test/root:v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := ggcrtar.WriteToFile(file, tag, sample(t)); err != nil {
		t.Fatal(err)
	}
	check(t, file)
	check(t, file+":v1")
	if _, err := read(t, file+":v2", Options{}); err == nil || !strings.Contains(err.Error(), "no image v2") {
		t.Errorf("error %v for a tag that is not there", err)
	}
}

// TestDamage flips a byte in each blob of a layout in turn, and shortens each.
func TestDamage(t *testing.T) {
	dir := writeLayout(t)
	blobs, err := filepath.Glob(filepath.Join(dir, "blobs/sha256/*"))
	if err != nil || len(blobs) != 5 {
		t.Fatalf("%d blobs, %v: want a manifest, a configuration and three layers", len(blobs), err)
	}
	for _, blob := range blobs {
		good, err := os.ReadFile(blob)
		if err != nil {
			t.Fatal(err)
		}
		flipped := bytes.Clone(good)
		flipped[len(flipped)/2] ^= 1
		for what, bad := range map[string][]byte{"flipped": flipped, "torn": good[:len(good)/2], "longer": append(bytes.Clone(good), 0)} {
			if err := os.WriteFile(blob, bad, 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := read(t, dir, Options{})
			if err == nil || !strings.Contains(err.Error(), "wrong digest") || !strings.Contains(err.Error(), filepath.Base(blob)) {
				t.Errorf("%s blob: error %v, want a wrong digest that names it", what, err)
			}
		}
		if err := os.WriteFile(blob, good, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	check(t, dir)
}

// TestWrongDiffID is a configuration that does not belong to its layers.
func TestWrongDiffID(t *testing.T) {
	lying := gzipLayer(t, archive(t, "f a b")).(staticLayer)
	honest := lying.plain
	lying.plain = append(bytes.Clone(honest), 1)
	dir := t.TempDir()
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.AppendImage(imageOf(t, "amd64", lying)); err != nil {
		t.Fatal(err)
	}
	if _, err := read(t, dir, Options{}); err == nil || !strings.Contains(err.Error(), "wrong digest") {
		t.Errorf("error %v, want a wrong digest", err)
	}
}

func TestBadEntries(t *testing.T) {
	for _, tt := range []struct {
		entry, want string
	}{
		{"f ../escape x", `"../escape"`},
		{"f a/../../escape x", `"a/../../escape"`},
		{"f /absolute x", `"/absolute"`},
		{"h link missing", `"missing"`},
		{"f loop/inner x", `"loop/inner"`},
	} {
		dir := t.TempDir()
		l, err := layout.Write(dir, empty.Index)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.AppendImage(imageOf(t, "amd64", gzipLayer(t, archive(t, "l loop loop", tt.entry)))); err != nil {
			t.Fatal(err)
		}
		_, err = read(t, dir, Options{})
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "layer 1") {
			t.Errorf("%s: error %v, want one that names %s", tt.entry, err, tt.want)
		}
	}
}
