package builder

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"masthead/images"
	"masthead/initramfs"
	"masthead/rootfs"
	"masthead/rootfs/apt"
	"masthead/rootfs/kernel"
	"masthead/rootfs/module"
)

// earlyModules are loaded before init looks at the hardware: they belong to no device, and every root is on them.
var earlyModules = []string{"nbd", "erofs", "overlay"}

// initramfs makes the initramfs of an image and stores it.
func (b *Builder) initramfs(ctx context.Context, def *images.Definition, tree *rootfs.Tree, krn *kernel.Kernel, index *module.Index) (images.Blob, error) {
	classes := module.Server()
	if len(def.Modules) > 0 {
		classes = append(classes, module.Class{Name: "definition", Reason: "the definition asks for them", Take: def.Modules})
	}
	selection, err := index.Select(classes)
	if err != nil {
		return images.Blob{}, fmt.Errorf("modules of kernel %s: %w", krn.Release, err)
	}
	// Firmware is the root's affair: where its packages brought none, there is none to load.
	var firmware fs.FS
	if n, err := tree.Resolve("lib/firmware"); err == nil && n.IsDir() {
		if firmware, err = fs.Sub(tree.FS(), "lib/firmware"); err != nil {
			return images.Blob{}, err
		}
	}
	cfg := initramfs.Config{
		Baked: images.Baked{Name: def.Name, Role: def.Role, KernelRelease: krn.Release, SSHKeys: def.SSHKeys, Early: earlyModules},
		Init:  b.bin.open, InitSize: b.bin.size,
		Modules: krn.Modules, Index: index, Selection: selection, Firmware: firmware,
		// The kernel asks for file systems and character sets by this name (kernel/module/kmod.c).
		Extra: []initramfs.Entry{initramfs.Link("sbin/modprobe", "../init")},
		Cache: filepath.Join(b.cfg.Cache, "modules"),
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(initramfs.Build(ctx, w, cfg)) }() // ends when Put has read all, or closes r
	defer r.Close()
	blob, err := b.cfg.Store.Put(r)
	if err != nil {
		return images.Blob{}, fmt.Errorf("initramfs: %w", err)
	}
	return blob, nil
}

// aptClient gets packages for one stage of a build.
func (b *Builder) aptClient(def *images.Definition, stage string) (*apt.Client, error) {
	dir := filepath.Join(b.cfg.Cache, "apt")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return apt.NewClient(apt.Config{Cache: dir, Progress: func(_ string, done, total int64) {
		b.progress(def, stage, done, total, true)
	}})
}
