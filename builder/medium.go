package builder

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"masthead/builder/iso"
	"masthead/builder/loader"
	"masthead/images"
	"masthead/images/disk"
)

// menuTimeout is how long the loaders wait for a person to ask for rescue.
const menuTimeout = 2 * time.Second

// ISO writes the hybrid ISO that starts the image built from def and carries the images in carried, under the names
// that they are tagged with on the head. It returns the file's size.
func (b *Builder) ISO(ctx context.Context, def *images.Definition, built Built, carried map[string]images.Digest, file string) (int64, error) {
	size, err := b.iso(ctx, def, built, carried, file)
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", file, err)
	}
	return size, nil
}

func (b *Builder) iso(ctx context.Context, def *images.Definition, built Built, carried map[string]images.Digest, file string) (int64, error) {
	layout, _, err := b.medium(def, built, carried)
	if err != nil {
		return 0, err
	}
	return layout.Size, b.writeMedium(ctx, def, layout, file)
}

// medium plans the ISO, and gives the loader that it carries for the disks that it is installed on.
func (b *Builder) medium(def *images.Definition, built Built, carried map[string]images.Digest) (*iso.Layout, disk.Loader, error) {
	loaders, err := loader.Find("/", loader.ForISO()...)
	if err != nil {
		return nil, disk.Loader{}, err
	}
	forDisk, err := diskLoader(loaders)
	if err != nil {
		return nil, disk.Loader{}, err
	}
	if b.cfg.SignShim {
		if forDisk.Shim, err = b.cfg.Signer.Append(forDisk.Shim); err != nil {
			return nil, disk.Loader{}, fmt.Errorf("sign shim: %w", err)
		}
	}
	tags := maps.Clone(carried)
	if tags == nil {
		tags = map[string]images.Digest{}
	}
	tags[built.Manifest.Name] = built.Digest
	pack, err := images.PlanPack(b.cfg.Store, tags)
	if err != nil {
		return nil, disk.Loader{}, err
	}
	m := built.Manifest
	cmdline := mediumCmdline(def, built)
	script, err := disk.CmdlineScript(cmdline)
	if err != nil {
		return nil, disk.Loader{}, err
	}
	kernel, ramfs := b.blobFile(images.MediumKernel, m.Kernel), b.blobFile(images.MediumInitramfs, m.Initramfs)
	var uefi uefiBoot
	if b.cfg.Signer == nil {
		uefi = signedGRUB(forDisk, kernel, ramfs, images.DigestOf([]byte(fmt.Sprint(tags, cmdline))))
	} else if uefi, err = signedKernel(b.cfg.Signer, forDisk, kernel, ramfs, m, cmdline); err != nil {
		return nil, disk.Loader{}, err
	}
	files := append(uefi.files, bytesFile(images.MediumCmdline, []byte(script)), iso.File{Path: images.MediumPack, Size: pack.Size(), Open: pack.Open})
	entry := func(label, extra string) iso.Entry {
		return iso.Entry{Label: label, Kernel: images.MediumKernel, Initrd: images.MediumInitramfs, Append: strings.TrimSpace(cmdline + " " + extra)}
	}
	layout, err := iso.Plan(iso.Image{
		VolumeID: images.MediumLabel, Identity: string(built.Digest), Epoch: b.cfg.Epoch,
		Files: files, ESP: uefi.esp,
		BIOS: &iso.BIOS{
			ISOLINUX: loaders[loader.ISOLINUX], LDLinux: loaders[loader.LDLinux], HybridMBR: loaders[loader.HybridMBR],
			Menu: iso.Menu{Serial: "0 115200", Timeout: menuTimeout, Entries: []iso.Entry{
				entry("masthead", ""), entry("install", images.KeyInstall+"="+images.InstallByAsking), entry("rescue", images.KeyRescue),
			}},
		},
	})
	return layout, forDisk, err
}

// mediumCmdline is the kernel command line of a medium: the definition's, and which image to run.
func mediumCmdline(def *images.Definition, built Built) string {
	words := []string{def.KernelCmdline(), images.KeyImage + "=" + string(built.Digest)}
	if def.Medium.IP != "" {
		words = append(words, images.KeyIP+"="+def.Medium.IP)
	}
	return strings.TrimSpace(strings.Join(words, " "))
}

func (b *Builder) writeMedium(ctx context.Context, def *images.Definition, layout *iso.Layout, file string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if err := RoomFor(filepath.Dir(file), layout.Size); err != nil {
		return err
	}
	f, err := renameio.NewPendingFile(file, renameio.WithPermissions(0o644))
	if err != nil {
		return full(err, filepath.Dir(file), layout.Size)
	}
	defer f.Cleanup()
	w := &countingWriter{w: f, report: func(n int64) { b.progress(def, "iso", n, layout.Size, true) }}
	if err := layout.Write(ctx, w); err != nil {
		return full(err, filepath.Dir(file), layout.Size)
	}
	return full(f.CloseAtomicallyReplace(), filepath.Dir(file), layout.Size)
}

// blobFile is a file of the ISO with the contents of a blob of the store.
func (b *Builder) blobFile(path string, blob images.Blob) iso.File {
	return iso.File{Path: path, Size: blob.Size, Open: func() (io.ReadCloser, error) {
		r, _, err := b.cfg.Store.Open(blob.Digest)
		return r, err
	}}
}

// countingWriter reports how much has gone through it, in steps that do not cost anything.
type countingWriter struct {
	w       io.Writer
	n, said int64
	report  func(int64)
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	if c.n-c.said >= 4<<20 {
		c.said = c.n
		c.report(c.n)
	}
	return n, err
}
