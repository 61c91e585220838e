package oci

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"masthead/rootfs/tarball"
)

// Files of an OCI image layout (image-layout.md), and of what docker save writes.
const (
	layoutIndex    = "index.json"
	dockerManifest = "manifest.json"
)

// Annotations that say what an image in a layout is called.
const (
	annotationRef  = "org.opencontainers.image.ref.name" // the tag, or a whole reference
	annotationName = "io.containerd.image.name"          // a whole reference
)

const (
	maxMetadata = 16 << 20 // bytes of a manifest, an index or a configuration
	maxNesting  = 4        // indexes in indexes
)

func fromLayout(dir, tag string, opts Options) (*image, error) {
	return readLayout(os.DirFS(dir), tag, opts, func() error { return nil })
}

// fromArchive reads a saved image in place, through the tree of the archive that it is in. Archives of today's docker
// are both a layout and of docker's own form; the layout has more digests to verify.
func fromArchive(ctx context.Context, file, tag string, opts Options) (*image, error) {
	tree, err := tarball.Open(ctx, file, opts.SpoolDir)
	if err != nil {
		return nil, err
	}
	var img *image
	if _, err = tree.Lookup(layoutIndex); err == nil {
		img, err = readLayout(tree.FS(), tag, opts, tree.Close)
	} else {
		img, err = readDocker(tree.FS(), tag, opts, tree.Close)
	}
	if err != nil {
		tree.Close()
		return nil, err
	}
	return img, nil
}

// candidate is an image in a layout.
type candidate struct {
	name     string
	manifest v1.Descriptor
}

func readLayout(layout fs.FS, tag string, opts Options, close func() error) (*image, error) {
	data, err := readLimited(layout, layoutIndex)
	if err != nil {
		return nil, fmt.Errorf("not an OCI image layout: %w", err)
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", layoutIndex, err)
	}
	found, err := candidates(layout, index, "", tag, opts, 0)
	if err != nil {
		return nil, err
	}
	c, err := one(found, func(c candidate) string { return c.name }, tag, opts)
	if err != nil {
		return nil, err
	}
	return readManifest(layout, c.manifest, opts, close)
}

// candidates lists the images of an index that have the tag and the platform.
func candidates(layout fs.FS, index *v1.IndexManifest, name, tag string, opts Options, depth int) ([]candidate, error) {
	if depth > maxNesting {
		return nil, fmt.Errorf("indexes in indexes, more than %d deep", maxNesting)
	}
	var found []candidate
	for _, d := range index.Manifests {
		called := cmp.Or(d.Annotations[annotationName], d.Annotations[annotationRef], name)
		if p := d.Platform; p != nil && (p.OS != "linux" || p.Architecture != opts.Arch) {
			continue
		}
		// The tag may be that of an index, which then stands for all below it.
		named := tag == "" || hasTag(called, tag) || hasTag(d.Annotations[annotationRef], tag) || d.Digest.String() == tag
		switch {
		case d.MediaType.IsIndex():
			data, err := readBlob(layout, d)
			if err != nil {
				return nil, err
			}
			inner, err := v1.ParseIndexManifest(bytes.NewReader(data))
			if err != nil {
				return nil, fmt.Errorf("index %s: %w", d.Digest, err)
			}
			below := tag
			if named {
				below = ""
			}
			more, err := candidates(layout, inner, called, below, opts, depth+1)
			if err != nil {
				return nil, err
			}
			found = append(found, more...)
		case d.MediaType.IsImage() && named:
			found = append(found, candidate{called, d})
		}
	}
	return found, nil
}

// hasTag reports whether a reference is the tag, or ends in it.
func hasTag(ref, tag string) bool { return ref == tag || strings.HasSuffix(ref, ":"+tag) }

// one takes the only image there is.
func one[T any](found []T, name func(T) string, tag string, opts Options) (T, error) {
	var none T
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) == 0 && tag != "":
		return none, fmt.Errorf("it has no image %s for linux/%s", tag, opts.Arch)
	case len(found) == 0:
		return none, fmt.Errorf("it has no image for linux/%s", opts.Arch)
	}
	var names []string
	for _, f := range found {
		names = append(names, cmp.Or(name(f), "one without a name"))
	}
	slices.Sort(names)
	return none, fmt.Errorf("it has %d images; say which with :TAG behind the path: %s", len(found), strings.Join(names, ", "))
}

func readManifest(layout fs.FS, d v1.Descriptor, opts Options, close func() error) (*image, error) {
	data, err := readBlob(layout, d)
	if err != nil {
		return nil, err
	}
	m, err := v1.ParseManifest(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	if data, err = readBlob(layout, m.Config); err != nil {
		return nil, err
	}
	config, err := v1.ParseConfigFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("configuration %s: %w", m.Config.Digest, err)
	}
	var layers []layer
	for _, l := range m.Layers {
		if !l.MediaType.IsLayer() || l.MediaType == types.OCIRestrictedLayer {
			return nil, fmt.Errorf("layer %s: cannot read media type %s", l.Digest, l.MediaType)
		}
		path, err := blobPath(l.Digest)
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer{name: l.Digest.String(), digest: l.Digest, size: l.Size,
			open: func() (io.ReadCloser, error) { return layout.Open(path) }})
	}
	return newImage(config, layers, opts, close)
}

func blobPath(h v1.Hash) (string, error) {
	if h.Algorithm != "sha256" || len(h.Hex) != 64 || strings.Trim(h.Hex, "0123456789abcdef") != "" {
		return "", fmt.Errorf("digest %s: want sha256", h)
	}
	return "blobs/sha256/" + h.Hex, nil
}

// readBlob reads and verifies a blob of metadata.
func readBlob(layout fs.FS, d v1.Descriptor) ([]byte, error) {
	path, err := blobPath(d.Digest)
	if err != nil {
		return nil, err
	}
	data, err := readLimited(layout, path)
	if err != nil {
		return nil, err
	}
	got, _, err := v1.SHA256(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if got != d.Digest {
		return nil, fmt.Errorf("%s: wrong digest: %s", path, got)
	}
	return data, nil
}

func readLimited(layout fs.FS, path string) ([]byte, error) {
	f, err := layout.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxMetadata+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(data) > maxMetadata {
		return nil, fmt.Errorf("%s: %w", path, errors.New("too long"))
	}
	return data, nil
}
