package cluster

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"

	"masthead/images"
)

// built is an image as a build left it, read by other means than a machine does.
type built struct {
	digest   images.Digest
	manifest images.Manifest
	root     string // SHA-256 of the whole root device, in hexadecimal digits
}

// readImage builds the network-boot set of a shipped definition and puts its root together.
func readImage(t *testing.T, name string) built {
	t.Helper()
	dir := t.TempDir()
	build(t, "netboot", definition(t, name), "-o", dir)
	pack, err := images.OpenPackFile(filepath.Join(dir, name+".pack"))
	must(t, err)
	b := built{digest: pack.Tags()[name]}
	b.manifest, err = images.ReadManifest(pack, b.digest)
	must(t, err)

	decoder, err := zstd.NewReader(nil)
	must(t, err)
	defer decoder.Close()
	sum := sha256.New()
	for i, c := range b.manifest.Root.Chunks {
		want := b.manifest.Root.ChunkLen(i)
		plain := make([]byte, want)
		if !c.Zero() {
			stored, err := images.ReadBlob(pack, c.Digest, images.MaxChunkSize)
			must(t, err)
			plain, err = decoder.DecodeAll(stored, nil)
			must(t, err)
		}
		if int64(len(plain)) != want {
			t.Fatalf("chunk %d of %s has %d bytes, want %d", i, name, len(plain), want)
		}
		_, err := io.Copy(sum, bytes.NewReader(plain))
		must(t, err)
	}
	b.root = hex.EncodeToString(sum.Sum(nil))
	return b
}
