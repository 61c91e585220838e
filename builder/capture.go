package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"

	"masthead/builder/loader"
	"masthead/images"
	"masthead/initramfs"
	"masthead/rootfs"
)

// Capture is a root that a running machine has, about to become an image for workers.
type Capture struct {
	Name string       // of the image
	Tree *rootfs.Tree // the root; not used by anybody else any more
	// Running is the image that the machine booted from: its kernel and initramfs go with the modules in the root. Nil: the
	// machine was booted by something else, and the kernel is the newest that the root itself has.
	Running *images.Manifest
	// Like is the image that this one comes after: command line and first loaders are its own. Nil: those of Running.
	Like  *images.Manifest
	Blobs images.BlobReader // of Running and of Like
}

// Capture makes an image of a root. The same root gives the same bytes. The image has no tag yet; hold the store until it
// has one.
func (b *Builder) Capture(ctx context.Context, c Capture) (Built, error) {
	built, err := b.capture(ctx, c)
	if err != nil {
		return Built{}, fmt.Errorf("capture %s: %w", c.Name, full(err, b.cfg.Store.Dir(), 0))
	}
	return built, nil
}

func (b *Builder) capture(ctx context.Context, c Capture) (Built, error) {
	def := &images.Definition{Name: c.Name, Role: images.RoleWorker, Init: "/sbin/init", Kernel: images.KernelDef{Root: true}}
	like := c.Like
	if like == nil {
		like = c.Running
	}
	if like != nil {
		def.Cmdline = like.WorkerCmdline()
	}
	loaders, err := c.loaders(like)
	if err != nil {
		return Built{}, err
	}
	if c.Running == nil {
		open := func(context.Context) (*rootfs.Tree, error) { return c.Tree, nil }
		return b.assemble(ctx, def, source{open: open}, nil, loaders)
	}
	if c.Running.Init == "" {
		return Built{}, &minimalRoot{}
	}
	def.Init = c.Running.Init
	if err := checkInit(c.Tree, def); err != nil {
		return Built{}, err
	}
	if err := hasModules(c.Tree, c.Running.KernelRelease); err != nil {
		return Built{}, err
	}
	if err := markUpdated(c.Tree, b.cfg.Epoch); err != nil {
		return Built{}, err
	}
	m := images.Manifest{
		Format: images.ManifestFormat, Name: def.Name, Role: def.Role, Arch: runtime.GOARCH,
		KernelRelease: c.Running.KernelRelease, Cmdline: def.Cmdline, Init: def.Init, Loaders: map[string]images.Blob{},
	}
	b.progress(def, "kernel", 0, 0, true)
	if m.Kernel, err = b.copyBlob(c.Blobs, c.Running.Kernel); err != nil {
		return Built{}, err
	}
	if m.Initramfs, err = b.amended(c); err != nil {
		return Built{}, err
	}
	for name, data := range loaders {
		if m.Loaders[string(name)], err = b.cfg.Store.PutBytes(data); err != nil {
			return Built{}, err
		}
	}
	if m.Root, err = b.seal(ctx, def, c.Tree); err != nil {
		return Built{}, err
	}
	d, err := b.cfg.Store.PutManifest(m)
	return Built{Digest: d, Manifest: m}, err
}

type minimalRoot struct{}

func (*minimalRoot) Error() string {
	return "this machine runs a minimal image, in which nothing can be installed"
}
func (*minimalRoot) Try() string { return "masthead image build DEFINITION" }

// loaders are the first loaders of an image, or those of this machine.
func (c Capture) loaders(like *images.Manifest) (loader.Set, error) {
	if like == nil {
		return loader.Find("/", loader.ForNetboot()...)
	}
	set := loader.Set{}
	for name, blob := range like.Loaders {
		data, err := images.ReadBlob(c.Blobs, blob.Digest, blob.Size)
		if err != nil {
			return nil, fmt.Errorf("loader %s: %w", name, err)
		}
		set[loader.Name(name)] = data
	}
	return set, nil
}

// hasModules checks what a worker without would be half a machine.
func hasModules(tree *rootfs.Tree, release string) error {
	n, err := tree.Resolve("lib/modules/" + release)
	if err == nil && n.IsDir() {
		return nil
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return &noModules{release}
	}
	return err
}

type noModules struct{ release string }

func (e *noModules) Error() string {
	return "the root has no modules of the kernel that runs, " + e.release + ": /lib/modules/" + e.release + " is not there"
}

func (e *noModules) Try() string {
	return "restart this machine, and do not remove that folder before you capture"
}

// copyBlob takes a blob into the store, verified.
func (b *Builder) copyBlob(from images.BlobReader, blob images.Blob) (images.Blob, error) {
	if b.cfg.Store.Has(blob) {
		return blob, nil
	}
	r, _, err := from.Open(blob.Digest)
	if err != nil {
		return images.Blob{}, err
	}
	defer r.Close()
	return b.cfg.Store.PutVerified(r, blob.Digest)
}

// amended stores the initramfs of the running image with a word to init that it is that of a worker.
func (b *Builder) amended(c Capture) (images.Blob, error) {
	ramfs, err := images.ReadBlob(c.Blobs, c.Running.Initramfs.Digest, c.Running.Initramfs.Size)
	if err != nil {
		return images.Blob{}, err
	}
	baked, err := initramfs.ReadBaked(bytes.NewReader(ramfs))
	if err != nil {
		return images.Blob{}, err
	}
	baked.Name, baked.Role = c.Name, images.RoleWorker
	r, w := io.Pipe()
	go func() { w.CloseWithError(initramfs.Amend(w, bytes.NewReader(ramfs), baked)) }() // ends when Put has read all, or closes r
	defer r.Close()
	return b.cfg.Store.Put(r)
}
