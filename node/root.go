package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"masthead/images"
	"masthead/node/rootdev"
	"masthead/node/wire"
)

// spot is where a root is put together, and what is noted of it.
type spot struct {
	root, lower, overlay            string // mounts: the whole, EROFS, tmpfs
	control, manifest, node, stages string // files: the server's socket, the image's manifest, agent.Config, the stages
}

// spotOfBoot is that of the root that init leaves for.
var spotOfBoot = spot{newRoot, images.RootLower, images.RootUpperDir, images.RootdSocket, images.RunManifest, images.RunNode, images.RunStages}

// root attaches the sealed image as a block device and puts the root together: EROFS below, a writable overlay above.
func (in *Init) root(ctx context.Context) (string, error) {
	data, err := in.choose(ctx)
	if err != nil {
		return "", err
	}
	return in.attach(ctx, data, spotOfBoot)
}

// choose finds out which image the root is, and gives its manifest's bytes.
func (in *Init) choose(ctx context.Context) ([]byte, error) {
	in.image = in.boot.Image
	if in.spec.Image != "" {
		in.image = in.spec.Image // the head's word at this moment, not that of the boot script
	}
	if in.image == "" {
		return nil, &hint{errors.New("neither the kernel command line nor a head names an image"), "add " + images.KeyImage + "=DIGEST"}
	}
	data, err := in.manifest(ctx)
	if err != nil {
		return nil, err
	}
	if in.man, err = images.VerifyManifest(data, in.image); err != nil {
		return nil, err
	}
	return data, nil
}

// attach serves the chosen image as a block device and puts the root together at a spot.
func (in *Init) attach(ctx context.Context, data []byte, at spot) (_ string, err error) {
	if in.man.Name != in.baked.Name || in.man.KernelRelease != in.baked.KernelRelease {
		// A kernel without its modules half works, which is worse than a boot that says so.
		if in.man.KernelRelease != in.baked.KernelRelease {
			in.log.Warn("the root's modules are for another kernel", "running", in.baked.KernelRelease, "root", in.man.KernelRelease)
		}
	}
	// The agent starts the server of the root again if it should die, and then cannot ask anybody for the manifest.
	if err := os.WriteFile(at.manifest, data, 0o644); err != nil {
		return "", fmt.Errorf("keep the manifest: %w", err)
	}
	cfg := rootdev.Config{Image: in.image, Manifest: data, Mode: in.rootMode(), Control: at.control, Progress: in.loading}
	if in.pack != nil {
		if cfg.Pack, err = os.Open(filepath.Join(images.MediumMount, images.MediumPack)); err != nil {
			return "", err
		}
		defer cfg.Pack.Close() // the process has its own descriptor of it
	} else {
		cfg.Heads = rootdev.Heads{Heads: in.sources(), CA: in.boot.CA, Token: in.spec.Token}
	}
	defer in.tellSlow(ctx, at.control)()
	if in.rootd, err = rootdev.Start(ctx, images.RunBinary, cfg); err != nil {
		return "", err
	}
	if err := in.mountRoot(ctx, in.rootd.Device, at); err != nil {
		return "", err
	}
	r := in.man.Root
	return fmt.Sprintf("%s %s, %d MB, %s, on %s", in.man.Name, in.image.Short(), r.Size>>20, cfg.Mode, in.rootd.Device), nil
}

// slowReport is how long a root takes at most before the head hears of it.
const slowReport = 5 * time.Second

// tellSlow reports how the root stands, again and again, until done is called: loading one whole takes minutes, and the
// kernel waits for ever for a block that it mounts the root by.
func (in *Init) tellSlow(ctx context.Context, control string) (done func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { // ends with done
		defer close(ended)
		tick := time.NewTicker(slowReport)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if st, err := rootdev.Dial(control).Status(ctx); err == nil {
				_ = in.report(ctx, &st) // a head that does not hear is told the next time
			}
		}
	}()
	return func() { cancel(); <-ended }
}

// rootMode is the head's word, or that of the command line.
func (in *Init) rootMode() images.RootMode {
	if m := images.RootMode(in.spec.Root); m == images.RootLazy || m == images.RootRAM {
		return m
	}
	return in.boot.Root
}

// sources lists the heads to fetch from: the one that answered first, then all that it named.
func (in *Init) sources() []wire.Head {
	all := []wire.Head{{Name: in.head, URL: in.head}}
	for _, h := range in.spec.Heads {
		if h.URL != in.head {
			all = append(all, h)
		}
	}
	return all
}

// loadingStep is how often the console hears how far a root that is loaded whole has come: at each tenth.
const loadingStep = 10

// loading shows how far a root that is loaded whole has come.
func (in *Init) loading(p rootdev.Progress) error {
	if p.Chunks > 0 && p.Device == "" {
		if tenth := loadingStep * p.Present / p.Chunks; tenth != in.loaded {
			in.loaded = tenth
			in.log.Info("loading the root", "percent", 100/loadingStep*tenth)
		}
	}
	return nil
}

// manifest gets the manifest's bytes from the medium or a head. They are not verified here.
func (in *Init) manifest(ctx context.Context) ([]byte, error) {
	if in.pack != nil {
		data, err := images.ReadBlob(in.pack, in.image, images.MaxManifestSize)
		if err != nil {
			return nil, &hint{fmt.Errorf("the medium does not have its image: %w", err), "write the medium again"}
		}
		return data, nil
	}
	if in.client == nil {
		return nil, errNoHead
	}
	ctx, cancel := context.WithTimeout(ctx, manifestTimeout)
	defer cancel()
	for pause := helloRetryFirst; ; pause = min(2*pause, helloRetryMost) {
		data, err := in.manifestOf(ctx, in.sources())
		var answered *wire.ProblemError
		if err == nil || errors.As(err, &answered) { // a head that answers, and no, will not change its mind
			return data, err
		}
		in.log.Warn("no head gives the manifest", "err", err)
		select {
		case <-ctx.Done():
			return nil, &hint{err, "check that port 443 of the head can be reached, then masthead status on the head"}
		case <-time.After(pause):
		}
	}
}

// manifestOf gets the manifest from the first of the heads that gives it.
func (in *Init) manifestOf(ctx context.Context, heads []wire.Head) ([]byte, error) {
	var errs []error
	for _, h := range heads {
		c := wire.NewClient(h.URL, in.boot.CA, in.spec.Token)
		_, data, err := c.Manifest(ctx, in.image)
		c.Close()
		if err == nil {
			return data, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// manifestTimeout is long enough for a head that restarts to be back, and ample for a hundred kilobytes over a bad line.
const manifestTimeout = time.Minute

// mountRoot puts the root together.
func (in *Init) mountRoot(ctx context.Context, device string, at spot) error {
	for _, dir := range []string{at.lower, at.overlay, at.root} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount(device, at.lower, "erofs", unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("mount %s as erofs: %w", device, err)
	}
	dir, err := in.overlay(ctx, at.overlay)
	if err != nil {
		return err
	}
	upper, work := filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	for _, dir := range []string{upper, work} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make the overlay: %w", err)
		}
	}
	// The root directory of an overlay has the owner and mode of its upper layer.
	var st unix.Stat_t
	if err := unix.Stat(at.lower, &st); err == nil {
		if err := errors.Join(os.Chown(upper, int(st.Uid), int(st.Gid)), unix.Chmod(upper, st.Mode&0o7777)); err != nil {
			return fmt.Errorf("prepare the overlay: %w", err)
		}
	}
	opts := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", at.lower, upper, work)
	if err := unix.Mount("masthead", at.root, "overlay", 0, opts); err != nil {
		return fmt.Errorf("mount the overlay (%s): %w", opts, err)
	}
	return nil
}

// overlay gives the folder for what is written to the root: on the disk of an installed head, else in memory, mounted at
// the folder memory.
func (in *Init) overlay(ctx context.Context, memory string) (string, error) {
	if in.disk != nil {
		if err := in.openState(ctx); err != nil {
			return "", err
		}
	}
	if in.kept {
		dir, aside, err := overlayFor(images.StateMount, in.boot.Slot, in.image, time.Now())
		if aside != "" {
			in.log.Warn("slot "+in.boot.Slot+" holds another image than before: what was written over that one is set aside", "folder", aside)
		}
		return dir, err
	}
	if in.boot.Overlay == "zram" {
		if err := in.zramSwap(ctx); err != nil {
			// Less room for what is written is no reason not to run.
			in.log.Warn("zram: the overlay stays in plain memory", "err", err)
		}
	}
	if err := unix.Mount("masthead", memory, "tmpfs", 0, "mode=0755"); err != nil {
		return "", fmt.Errorf("mount the overlay's tmpfs: %w", err)
	}
	return memory, nil
}
