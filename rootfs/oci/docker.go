package oci

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// dockerImage is an element of the manifest.json in docker's own form of archive.
type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// readDocker reads an archive in docker's own form, which has no digests of manifest and stored layers; the
// configuration, whose digest is its name, has those of the layers' archives.
func readDocker(archive fs.FS, tag string, opts Options, close func() error) (*image, error) {
	data, err := readLimited(archive, dockerManifest)
	if err != nil {
		return nil, fmt.Errorf("neither an OCI archive nor one from docker save: %w", err)
	}
	var all []dockerImage
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("%s: %w", dockerManifest, err)
	}
	found := slices.DeleteFunc(all, func(d dockerImage) bool {
		return tag != "" && !slices.ContainsFunc(d.RepoTags, func(ref string) bool { return hasTag(ref, tag) })
	})
	d, err := one(found, func(d dockerImage) string { return cmp.Or(strings.Join(d.RepoTags, ", "), d.Config) }, tag, opts)
	if err != nil {
		return nil, err
	}
	if data, err = readLimited(archive, d.Config); err != nil {
		return nil, err
	}
	if err := checkNamed(d.Config, data); err != nil {
		return nil, err
	}
	config, err := v1.ParseConfigFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("configuration %s: %w", d.Config, err)
	}
	var layers []layer
	for _, name := range d.Layers {
		st, err := fs.Stat(archive, name) // old archives have symbolic links for layers that several images share
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer{name: name, size: st.Size(), open: func() (io.ReadCloser, error) { return archive.Open(name) }})
	}
	return newImage(config, layers, opts, close)
}

// checkNamed compares the digest of data with the file's name, where that is one: HEX.json of docker, blobs/sha256/HEX,
// sha256:HEX of go-containerregistry.
func checkNamed(name string, data []byte) error {
	want := strings.TrimPrefix(strings.TrimSuffix(path.Base(name), ".json"), "sha256:")
	if len(want) != 64 {
		return nil
	}
	got, _, err := v1.SHA256(bytes.NewReader(data))
	if err == nil && got.Hex != want {
		err = fmt.Errorf("%s: wrong digest: %s", name, got)
	}
	return err
}
