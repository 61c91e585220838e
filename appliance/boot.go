package appliance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"time"

	"masthead/appliance/httpboot"
	"masthead/appliance/registry"
	"masthead/images"
	"masthead/node/wire"
)

// openBoot prepares what machines load from.
func (h *Head) openBoot() error {
	var err error
	h.boot, err = httpboot.New(httpboot.Config{
		Blobs: h.library, Target: h.target, Fetched: h.fetched,
		Loader: func(name string) (images.Digest, bool) {
			d, ok, err := h.loader(name)
			if err != nil {
				h.log.Error("loaders", "err", err)
			}
			return d, ok
		},
		Damaged: func(e *httpboot.DamagedError) {
			h.blobDamaged(e.Digest)
			h.reg.Event(wire.Event{Time: time.Now(), Kind: "http", Failed: true, Text: e.Error() + "; " + e.Try()})
		},
	})
	if err != nil {
		return err
	}
	h.blobs = h.boot.Blobs(func(*http.Request) bool { return true }) // the route has asked for a token already
	return nil
}

// target says what a machine boots. One that nobody knows is discovered by this, and boots the default image's kernel
// and initramfs: init then tells what the machine is made of, and waits there for the approval.
func (h *Head) target(ctx context.Context, q httpboot.Query) (httpboot.Machine, error) {
	rec, ok := h.reg.ByMAC(q.MAC)
	if !ok {
		name, _, err := h.reg.Discover(ctx, registry.Discovery{MAC: q.MAC, Address: q.Remote, Time: time.Now()})
		if err != nil {
			return httpboot.Machine{}, err
		}
		if rec, ok = h.reg.Record(name); !ok {
			return httpboot.Machine{}, &httpboot.Notice{Reason: "this machine was removed just now", Fix: "masthead node list"}
		}
	}
	if rec.Head() {
		// Its firmware asks the network before the disk; as a worker it would come up beside its own cluster.
		return httpboot.Machine{Name: rec.Name, MAC: rec.MAC, Local: true}, nil
	}
	tag := h.reg.ImageRef(rec)
	if rec.Clone() {
		own, err := h.ownImage()
		if err != nil {
			return httpboot.Machine{}, &httpboot.Notice{Reason: err.Error(), Fix: "masthead master-maker on a head that was started from an ISO"}
		}
		tag = string(own)
	}
	if tag == "" {
		tag = h.defaultImage()
	}
	if tag == "" {
		return httpboot.Machine{}, &httpboot.Notice{Reason: "this machine has no image, and the cluster no default one",
			Fix: "masthead image list, then masthead node set " + rec.Name + " --image TAG"}
	}
	d, err := h.library.resolve(tag)
	if err != nil {
		return httpboot.Machine{}, &httpboot.Notice{Reason: err.Error(), Fix: "masthead image list, then masthead node set " + rec.Name + " --image TAG"}
	}
	boot := images.Boot{
		Role: images.RoleWorker, Heads: h.bootHeads(rec.Name), CA: h.authority.Digest(), Image: d,
		Root: images.RootLazy, Overlay: images.DefaultOverlay, IP: images.IPDHCP, PanicDelay: images.DefaultPanicDelay, State: images.StateLabel,
	}
	if rec.Root != "" {
		boot.Root = images.RootMode(rec.Root)
	}
	return httpboot.Machine{Name: rec.Name, MAC: rec.MAC, Image: d, Tag: tag, Boot: boot, Cmdline: rec.Cmdline, Others: h.otherPlain(rec.Name)}, nil
}

// defaultImage is what nodes run that name none: the setting, or the only worker image that is here.
func (h *Head) defaultImage() string {
	if tag := h.reg.Settings().DefaultImage; tag != "" {
		return tag
	}
	return h.library.defaultImage()
}

// ownImage is what this head itself was started from. A machine that is being made a head runs it meanwhile, so that the
// kernel which is going to start from its disk has shown before that it knows the machine's hardware.
func (h *Head) ownImage() (images.Digest, error) {
	if h.cfg.Self == nil || h.cfg.Self.Image == "" {
		return "", errors.New("this head was not started from an image of masthead, so there is none to give on")
	}
	return h.cfg.Self.Image, nil
}

// resolveImage turns what a node's record names into the digest of an image for workers.
func (h *Head) resolveImage(ref string) (images.Digest, error) {
	if ref == "" {
		ref = h.library.defaultImage()
	}
	if ref == "" {
		return "", errors.New("none is named, and there is not exactly one for workers")
	}
	d, err := h.library.meaning(ref)
	var role images.Role
	if err == nil {
		role, err = h.library.role(d)
	}
	if err == nil && role == images.RoleHead {
		err = registry.ErrHeadImage
	}
	if err != nil {
		return "", fmt.Errorf("image %s: %w", ref, err)
	}
	return d, nil
}

// fetched makes a stage of what a machine loads.
func (h *Head) fetched(f httpboot.Fetch) {
	mac := f.MAC
	if mac == "" {
		mac = h.macOf(f.Remote)
	}
	if f.Stage == wire.StageScript {
		h.uefi.progressed(mac)
	}
	name := f.Path
	if f.Stage == wire.StageTFTP {
		name = path.Base(f.Path) + " by HTTP" // the stage's name says TFTP
	}
	s := wire.StageResult{Stage: f.Stage, Outcome: wire.OutcomeRunning, Detail: name, Took: f.Took.Seconds(), Time: f.Began.UTC()}
	e := wire.Event{Time: f.Began, Kind: "http", MAC: mac, Text: "fetches " + f.Path}
	switch {
	case f.Ended && f.Whole:
		e.Time = f.Began.Add(f.Took)
		s.Outcome, s.Detail = wire.OutcomeDone, sizeText(f.Bytes)
		if f.Stage == wire.StageTFTP {
			s.Detail = fmt.Sprintf("%s, %d bytes", name, f.Bytes)
		}
		e.Text = fmt.Sprintf("has fetched %s, %d bytes in %.1f s", f.Path, f.Bytes, f.Took.Seconds())
	case f.Ended:
		e.Time = f.Began.Add(f.Took)
		s.Outcome, s.Cause = wire.OutcomeFailed, fmt.Sprintf("%s: %d of %d bytes: %s", f.Path, f.Bytes, f.Size, f.Cause)
		e.Text, e.Failed = s.Cause, true
	}
	h.observe(mac, s, e)
}

// loaders are what firmware may ask for first: the loaders of every image, by name. Of two with one name the default
// image's wins. Reading all manifests takes seconds on a slow head, and GRUB alone asks for ten names that nobody has.
func (h *Head) loaders(from images.BlobReader) (map[string]images.Digest, error) {
	list, err := h.images()
	if err != nil {
		return nil, err
	}
	all := map[string]images.Digest{}
	first := h.defaultImage()
	for _, i := range list {
		m, err := images.ReadManifest(from, i.Digest)
		if err != nil {
			continue // gone since it was listed
		}
		for name, b := range m.Loaders {
			if _, ok := all[name]; !ok || i.Tag == first {
				all[name] = b.Digest
			}
		}
	}
	return all, nil
}

// loader finds one of them, as they were a moment ago.
func (h *Head) loader(name string) (images.Digest, bool, error) {
	files, err := h.first.get(func() (map[string]images.Digest, error) { return h.loaders(h.library) })
	d, ok := files[name]
	return d, ok, err
}

// sizeText is a number of bytes for people.
func sizeText(n int64) string {
	if n < 1e6 {
		return fmt.Sprintf("%.1f KB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}
