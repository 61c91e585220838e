package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"masthead/appliance"
	"masthead/appliance/install"
	"masthead/builder"
	"masthead/builder/iso"
	"masthead/images"
	"masthead/images/disk"
	"masthead/node/wire"
)

// isoFor gives the ISO that an upgrade is asked for: a file or a device, or else an image of this cluster, by its tag or
// digest, of which an ISO is made that is enough for a slot. done removes what was made.
func (a *app) isoFor(ctx context.Context, ref string) (path string, done func() error, err error) {
	keep := func() error { return nil }
	if _, err := os.Stat(ref); err == nil || strings.ContainsRune(ref, '/') {
		return ref, keep, nil
	}
	c, err := a.remote.client()
	if err != nil {
		return "", keep, err
	}
	if path, err = slotISO(ctx, c, ref, images.StateDir); err != nil {
		return "", keep, err
	}
	return path, func() error { return os.Remove(path) }, nil
}

// slotISO makes an ISO of an image of the cluster in dir, unless it fails. The blobs come from the head, which reads those
// of its ISO or slot too, and fetches what other heads have.
func slotISO(ctx context.Context, c *wire.Client, ref, dir string) (path string, err error) {
	list, err := c.Images(ctx)
	if err != nil {
		return "", err
	}
	d, err := headImage(list, ref)
	if err != nil {
		return "", &hint{err, "masthead image list; or the file of an ISO"}
	}
	path = filepath.Join(dir, "upgrade-"+d.Short()+".iso")
	if err := writeSlotISO(ctx, headBlobs{ctx, c}, d, path); err != nil {
		return "", &hint{fmt.Errorf("make an ISO of image %s: %w", ref, err), orElse(tryText(err), "masthead image list, which says what is not on this head yet; or the file of an ISO")}
	}
	return path, nil
}

// headImage finds an image for heads by its tag or digest. Pure.
func headImage(list []wire.Image, ref string) (images.Digest, error) {
	for _, i := range list {
		if i.Tag != ref && string(i.Digest) != ref && i.Digest.Hex() != ref {
			continue
		}
		if i.Role != images.RoleHead {
			return "", fmt.Errorf("image %s is for %ss", ref, i.Role)
		}
		return i.Digest, nil
	}
	return "", fmt.Errorf("there is neither a file nor an image %s", ref)
}

// writeSlotISO writes an ISO with one image, which GRUB and init can start from a slot. It has no loader of its own. What
// was written of one that fails is removed.
func writeSlotISO(ctx context.Context, from images.BlobReader, d images.Digest, path string) error {
	m, err := images.ReadManifest(from, d)
	if err != nil {
		return err
	}
	pack, err := images.PlanPack(from, map[string]images.Digest{m.Name: d})
	if err != nil {
		return err
	}
	blob := func(path string, b images.Blob) iso.File {
		return iso.File{Path: path, Size: b.Size, Open: func() (io.ReadCloser, error) { r, _, err := from.Open(b.Digest); return r, err }}
	}
	script, err := disk.CmdlineScript(strings.TrimSpace(m.Cmdline + " " + images.KeyImage + "=" + string(d)))
	if err != nil {
		return err
	}
	layout, err := iso.Plan(iso.Image{
		VolumeID: images.MediumLabel, Identity: string(d), Epoch: time.Unix(0, 0).UTC().AddDate(10, 0, 0),
		Files: []iso.File{
			blob(images.MediumKernel, m.Kernel), blob(images.MediumInitramfs, m.Initramfs),
			{Path: images.MediumCmdline, Size: int64(len(script)), Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(script)), nil }},
			{Path: images.MediumPack, Size: pack.Size(), Open: pack.Open},
		},
	})
	if err != nil {
		return err
	}
	if err := builder.RoomFor(filepath.Dir(path), layout.Size); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(layout.Write(ctx, f), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// leftBehind is what this head serves and has on its medium alone, while the next ISO does not bring it.
func (a *app) leftBehind(ctx context.Context, next *install.Volume) (blobs []images.Blob, now *images.Pack, store *images.Store, err error) {
	c, err := a.remote.client()
	if err != nil {
		return nil, nil, nil, err
	}
	list, err := c.Images(ctx)
	if err != nil {
		return nil, nil, nil, &hint{fmt.Errorf("which images are needed: %w", err), "masthead status"}
	}
	var wanted []images.Digest
	for _, i := range list {
		wanted = append(wanted, i.Digest)
	}
	nodes, err := c.Nodes(ctx, "")
	if err != nil {
		return nil, nil, nil, err
	}
	for _, n := range nodes {
		if n.Running != "" {
			wanted = append(wanted, n.Running)
		}
	}
	if now, err = images.OpenPackFile(filepath.Join(images.MediumMount, images.MediumPack)); err != nil {
		return nil, nil, nil, err
	}
	if store, err = images.OpenStore(filepath.Join(images.StateDir, appliance.ImagesDir)); err != nil {
		return nil, nil, nil, err
	}
	pack, err := next.Pack()
	if err != nil {
		return nil, nil, nil, err
	}
	return install.LeftBehind(wanted, now, pack, store), now, store, nil
}
