package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"masthead/appliance/install"
	"masthead/images"
	"masthead/node/wire"
)

// An upgrade of a head gives nodes no other image, which is told where they could expect it.
func TestShowUpgradeKept(t *testing.T) {
	var out bytes.Buffer
	u := install.Upgrade{Slot: "b", Kept: []images.Blob{{Size: 3 << 20}}}
	if err := (&app{out: &out}).showUpgrade(u, upgradeFlags{}); err != nil || !strings.Contains(out.String(), "kept in the store: 3 MiB of images that only slot a has; no tag changes: masthead image list") {
		t.Errorf("got %v:\n%s", err, out.String())
	}
}

// The blobs of a tag's image may be on the ISO or in the slot that the head runs from: they come from the head, not from
// its store.
func TestSlotISO(t *testing.T) {
	store, err := images.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	put := func(text string) images.Blob {
		b, err := store.PutBytes([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	chunk, ramfs := put(strings.Repeat("chunk", 100)), put("initramfs")
	d, err := store.PutManifest(images.Manifest{Format: images.ManifestFormat, Name: "head", Role: images.RoleHead, Arch: "amd64", KernelRelease: "6.12",
		Kernel: put("kernel"), Initramfs: ramfs, Init: "/sbin/init", Root: images.Root{Size: 4096, ChunkSize: 4096, Chunks: []images.Chunk{images.Chunk(chunk)}}})
	if err != nil {
		t.Fatal(err)
	}
	lacks := images.Digest("")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == wire.PathImages {
			_ = json.NewEncoder(w).Encode([]wire.Image{{Tag: "head", Digest: d, Role: images.RoleHead}})
			return
		}
		blob := images.Digest(strings.TrimPrefix(r.URL.Path, wire.PathBlob))
		body, size, err := store.Open(blob)
		if err != nil || blob == lacks {
			http.Error(w, "not found", http.StatusNotFound)
			return
		}
		defer body.Close()
		w.Header().Set("Content-Length", fmt.Sprint(size))
		_, _ = io.Copy(w, body)
	}))
	defer srv.Close()
	c := &wire.Client{Base: srv.URL, HTTP: srv.Client()}

	dir := t.TempDir()
	path, err := slotISO(t.Context(), c, "head", dir)
	if err != nil {
		t.Fatal(err)
	}
	f, volume, err := install.OpenISO(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if source, _, err := volume.Head(); err != nil || source.Image != d {
		t.Errorf("the ISO has %+v, %v; want image %s", source, err, d)
	}

	for _, lacks = range []images.Digest{d, ramfs.Digest} { // before a file is made, and after
		dir := t.TempDir()
		_, err := slotISO(t.Context(), c, "head", dir)
		if err == nil || strings.Contains(err.Error(), "remove") || tryText(err) == "" {
			t.Errorf("without %s: error %v, try %q", lacks.Short(), err, tryText(err))
		}
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("without %s: %v is left", lacks.Short(), left)
		}
	}
}
