package builder

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"masthead/images"
	"masthead/rootfs"
	"masthead/rootfs/debian"
	"masthead/rootfs/directory"
	"masthead/rootfs/kernel"
	"masthead/rootfs/oci"
	"masthead/rootfs/tarball"
)

// source is where a root tree comes from.
type source struct {
	// identity names the content; empty where that cannot be known without reading it all (a directory).
	identity string
	open     func(context.Context) (*rootfs.Tree, error)
}

func (b *Builder) source(ctx context.Context, def *images.Definition) (source, error) {
	spool := filepath.Join(b.cfg.Cache, "spool")
	if err := os.MkdirAll(spool, 0o755); err != nil {
		return source{}, err
	}
	switch r := def.Root; {
	case r.Debian != nil:
		return b.debian(ctx, def)
	case r.OCI != "":
		return b.oci(def, spool)
	case r.Tar != "":
		id, err := fileIdentity(r.Tar)
		if err != nil {
			return source{}, err
		}
		return source{id, func(ctx context.Context) (*rootfs.Tree, error) { return tarball.Open(ctx, r.Tar, spool) }}, nil
	case r.Directory != "":
		return source{"", func(ctx context.Context) (*rootfs.Tree, error) {
			return directory.Read(ctx, r.Directory, directory.Options{OneFileSystem: true})
		}}, nil
	}
	return source{"minimal", func(context.Context) (*rootfs.Tree, error) { return minimalTree(b.cfg.Tools, b.cfg.Epoch) }}, nil
}

// debian bootstraps, or finds what it bootstrapped from the same packages before; that archive's name is the identity.
func (b *Builder) debian(ctx context.Context, def *images.Definition) (source, error) {
	cfg := debian.Config{
		Suite: def.Root.Debian.Suite, Packages: def.Root.Debian.Packages, Epoch: b.cfg.Epoch,
		Cache: b.cfg.Cache, Progress: func(line string) { b.note(def, "root", line) },
	}
	b.note(def, "root", "")
	archive, err := debian.Archive(ctx, cfg)
	if err != nil {
		return source{}, err
	}
	return source{filepath.Base(archive), func(ctx context.Context) (*rootfs.Tree, error) { return debian.Bootstrap(ctx, cfg) }}, nil
}

// oci reads a container image. What a registry's tag means can change at any time, so only a reference by digest and a
// saved archive have an identity.
func (b *Builder) oci(def *images.Definition, spool string) (source, error) {
	ref := def.Root.OCI
	id := ""
	if st, err := os.Stat(ref); err == nil && st.Mode().IsRegular() {
		if id, err = fileIdentity(ref); err != nil {
			return source{}, err
		}
	} else if err != nil && strings.Contains(ref, "@sha256:") {
		id = ref
	}
	return source{id, func(ctx context.Context) (*rootfs.Tree, error) {
		return oci.Read(ctx, ref, oci.Options{SpoolDir: spool, Progress: func(done, total int64) { b.progress(def, "root", done, total, true) }})
	}}, nil
}

// fileIdentity is the digest of a file.
func fileIdentity(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("open the root: %w", err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("read the root %s: %w", file, err)
	}
	return string(images.DigestFromSum(sum.Sum(nil))), nil
}

// kernelSource gets the kernel, or nil where it is the root's own.
func (b *Builder) kernelSource(ctx context.Context, def *images.Definition) (*kernel.Kernel, error) {
	k := def.Kernel
	switch {
	case k.Root:
		return nil, nil
	case k.Image != "":
		return kernel.FromFiles(k.Image, k.Modules)
	}
	client, err := b.aptClient(def, "kernel")
	if err != nil {
		return nil, err
	}
	return kernel.FromDebian(ctx, client, kernel.Debian{Suite: k.Suite, Package: k.Package})
}
