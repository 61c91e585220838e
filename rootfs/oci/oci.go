package oci

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"masthead/rootfs"
	"masthead/rootfs/tarball"
)

// Options say how an image is read. The zero value is the default.
type Options struct {
	Arch     string // GOARCH; default amd64. The operating system is linux
	SpoolDir string // where unpacked layers are kept until the tree is closed; "": the system's temporary directory
	// Progress, if not nil, is told how many bytes of the layers, as they are stored or sent, have come.
	Progress func(done, total int64)
}

// Read makes a tree of the image at ref: the path of an OCI image layout, the path of an archive from docker save or of an
// OCI archive, either with ":TAG" behind it where it holds several images, or else a reference to a registry, with the
// credentials that docker login has kept. Registries on this machine and in private networks may speak plain HTTP.
//
// The digests of manifest, configuration and layers are verified. The caller closes the tree.
func Read(ctx context.Context, ref string, opts Options) (*rootfs.Tree, error) {
	if opts.Arch == "" {
		opts.Arch = "amd64"
	}
	img, err := find(ctx, ref, opts)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", ref, err)
	}
	defer img.close()
	tree := rootfs.New()
	if err := img.apply(ctx, tree, opts); err != nil {
		tree.Close()
		return nil, fmt.Errorf("image %s: %w", ref, err)
	}
	return tree, nil
}

// find tells a path from a reference: what exists is a path.
func find(ctx context.Context, ref string, opts Options) (*image, error) {
	path, tag := ref, ""
	if _, err := os.Stat(path); err != nil {
		if i := strings.LastIndexByte(ref, ':'); i > 0 {
			path, tag = ref[:i], ref[i+1:]
		}
	}
	st, err := os.Stat(path)
	switch {
	case err == nil && st.IsDir():
		return fromLayout(path, tag, opts)
	case err == nil:
		return fromArchive(ctx, path, tag, opts)
	case strings.HasPrefix(ref, "/") || strings.HasPrefix(ref, "./") || strings.HasPrefix(ref, "../"):
		return nil, err
	}
	return fromRegistry(ctx, ref, opts)
}

// image is what the sources have in common: verified metadata, and layers from the lowest to the topmost.
type image struct {
	layers []layer
	close  func() error
}

type layer struct {
	name   string  // for messages
	digest v1.Hash // of what open gives; zero where the source has none
	size   int64   // of what open gives
	diffID v1.Hash // of the tar archive
	open   func() (io.ReadCloser, error)
}

// newImage pairs the layers with the digests that the configuration has for them.
func newImage(config *v1.ConfigFile, layers []layer, opts Options, close func() error) (*image, error) {
	if config.OS != "linux" || config.Architecture != opts.Arch {
		return nil, fmt.Errorf("it is for %s/%s, want linux/%s", config.OS, config.Architecture, opts.Arch)
	}
	if len(config.RootFS.DiffIDs) != len(layers) {
		return nil, fmt.Errorf("%d layers, and its configuration has %d", len(layers), len(config.RootFS.DiffIDs))
	}
	for i, id := range config.RootFS.DiffIDs {
		layers[i].diffID = id
	}
	return &image{layers: layers, close: close}, nil
}

func (img *image) apply(ctx context.Context, tree *rootfs.Tree, opts Options) error {
	var done, total int64
	for _, l := range img.layers {
		total += l.size
	}
	progress := func(n int) {
		done += int64(n)
		if opts.Progress != nil {
			opts.Progress(done, total)
		}
	}
	for i, l := range img.layers {
		if err := l.apply(ctx, tree, opts.SpoolDir, progress); err != nil {
			return fmt.Errorf("layer %d, %s: %w", i+1, l.name, err)
		}
	}
	return nil
}

func (l layer) apply(ctx context.Context, tree *rootfs.Tree, spoolDir string, progress func(int)) error {
	r, err := l.open()
	if err != nil {
		return err
	}
	defer r.Close()
	stored := &verifier{r: r, want: l.digest, sum: sha256.New(), progress: progress}
	plain, err := tarball.Decompress(stored)
	if err == nil {
		defer plain.Close()
		archive := &verifier{r: plain, want: l.diffID, sum: sha256.New()}
		if err = tarball.Layer(ctx, tree, archive, spoolDir); err == nil {
			err = archive.finish()
		}
	}
	// A wrong digest explains whatever else went wrong.
	if ctx.Err() == nil {
		if wrong := stored.finish(); wrong != nil {
			return wrong
		}
	}
	return err
}

// verifier computes the digest of what is read through it.
type verifier struct {
	r        io.Reader
	want     v1.Hash
	sum      hash.Hash
	progress func(int)
	err      error
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.sum.Write(p[:n])
	if v.progress != nil {
		v.progress(n)
	}
	if err != nil && err != io.EOF {
		v.err = err
	}
	return n, err
}

// finish reads what is left and compares the digest.
func (v *verifier) finish() error {
	if v.err != nil {
		return v.err
	}
	if _, err := io.Copy(io.Discard, struct{ io.Reader }{v}); err != nil {
		return err
	}
	if got := hex.EncodeToString(v.sum.Sum(nil)); v.want != (v1.Hash{}) && got != v.want.Hex {
		return fmt.Errorf("wrong digest: sha256:%s, want %s", got, v.want)
	}
	return nil
}
