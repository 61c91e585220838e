package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"masthead/builder/loader"
	"masthead/builder/uki"
	"masthead/images"
	"masthead/rootfs"
	"masthead/rootfs/kernel"
)

// DefaultEpoch is the one time that stands in everything built. A constant, so that the same input gives the same bytes
// in any year; later than any clock that has lost its battery shows.
var DefaultEpoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Config says where a build finds and leaves things.
type Config struct {
	Store  *images.Store
	Cache  string    // downloads and bootstrapped roots, kept between builds
	Binary string    // the masthead that becomes init; must be static
	Tools  []string  // names that the binary answers to in a minimal root: sh, ls, …
	Epoch  time.Time // zero: DefaultEpoch
	// Signer, if not nil, signs ISOs for firmware that has a key of one's own; they start by a unified kernel image then.
	Signer *uki.Signer
	// SignShim has Signer sign the shim of installed disks as well. That shim takes whatever the distribution has signed.
	SignShim bool
	// Progress is told how far each stage is. It may be called from several goroutines. Nil: nobody listens.
	Progress func(Progress)
	Log      *slog.Logger
}

// Progress is how far one stage of a build is.
type Progress struct {
	Image string // name of the definition
	Stage string // root, kernel, modules, initramfs, seal, write, …
	// Done of Total; Total is 0 where it is not known. Bytes says their unit: bytes, or pieces.
	Done, Total int64
	Bytes       bool
	Note        string // what is being done, in words
}

// Builder builds images.
type Builder struct {
	cfg Config
	bin binary
}

// New checks the configuration.
func New(cfg Config) (*Builder, error) {
	var errs []error
	if cfg.Store == nil {
		errs = append(errs, errors.New("builder: no image store"))
	}
	if cfg.Cache == "" {
		errs = append(errs, errors.New("builder: no cache folder"))
	}
	if cfg.SignShim && cfg.Signer == nil {
		errs = append(errs, errors.New("builder: no key to sign shim with"))
	}
	if cfg.Epoch.IsZero() {
		cfg.Epoch = DefaultEpoch
	}
	if cfg.Progress == nil {
		cfg.Progress = func(Progress) {}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	bin, err := openBinary(cfg.Binary)
	if err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return &Builder{cfg: cfg, bin: bin}, nil
}

// Built is an image in the store.
type Built struct {
	Digest   images.Digest
	Manifest images.Manifest
	Reused   bool // nothing that it is made of has changed since an earlier build
}

// Image builds the image of def, or finds it in the store if it was built before from the same input, and tags it with
// the definition's name.
func (b *Builder) Image(ctx context.Context, def *images.Definition) (Built, error) {
	release, err := b.cfg.Store.Hold()
	if err != nil {
		return Built{}, fmt.Errorf("build %s: %w", def.Name, err)
	}
	defer release()
	built, err := b.image(ctx, def)
	if err == nil {
		err = b.cfg.Store.Tag(def.Name, built.Digest)
	}
	if err != nil {
		return Built{}, fmt.Errorf("build %s: %w", def.Name, full(err, b.cfg.Store.Dir(), 0))
	}
	return built, nil
}

func (b *Builder) image(ctx context.Context, def *images.Definition) (Built, error) {
	src, err := b.source(ctx, def)
	if err != nil {
		return Built{}, err
	}
	krn, err := b.kernelSource(ctx, def)
	if err != nil {
		return Built{}, err
	}
	loaders, err := loader.Find("/", loader.ForNetboot()...)
	if err != nil {
		return Built{}, err
	}
	key := inputKey{
		Builder: builderFormat, Definition: def, Source: src.identity, Binary: b.bin.digest,
		Epoch: b.cfg.Epoch.Unix(), Loaders: digests(loaders), Arch: runtime.GOARCH,
	}
	if krn != nil {
		key.Kernel = krn.Source + " " + krn.Release
	}
	if def.Kernel.Image != "" {
		src.identity = "" // files under the same name may hold another kernel each time
	}
	if src.identity != "" {
		if built, ok := b.lookup(key); ok {
			return built, nil
		}
	}
	built, err := b.assemble(ctx, def, src, krn, loaders)
	if err != nil {
		return Built{}, err
	}
	if src.identity != "" {
		if err := b.remember(key, built.Digest); err != nil {
			b.cfg.Log.Warn("the next build will not know this one", "err", err)
		}
	}
	return built, nil
}

// assemble runs the stages whose results were not in the store.
func (b *Builder) assemble(ctx context.Context, def *images.Definition, src source, krn *kernel.Kernel, loaders loader.Set) (Built, error) {
	tree, err := src.open(ctx)
	if err != nil {
		return Built{}, err
	}
	defer tree.Close()
	if err := checkInit(tree, def); err != nil {
		return Built{}, err
	}
	if krn == nil {
		if krn, err = kernel.FromRoot(tree.FS()); err != nil {
			return Built{}, err
		}
	}
	index, err := krn.Index(ctx, filepath.Join(b.cfg.Cache, "modules"), func(done, total int) {
		b.progress(def, "modules", int64(done), int64(total), false)
	})
	if err != nil {
		return Built{}, fmt.Errorf("modules of kernel %s: %w", krn.Release, err)
	}
	if !def.Kernel.Root {
		if err := mergeModules(tree, krn, index, b.cfg.Epoch); err != nil {
			return Built{}, err
		}
	}
	if err := markUpdated(tree, b.cfg.Epoch); err != nil {
		return Built{}, err
	}
	b.progress(def, "initramfs", 0, 0, true)
	ramfs, err := b.initramfs(ctx, def, tree, krn, index)
	if err != nil {
		return Built{}, err
	}
	m := images.Manifest{
		Format: images.ManifestFormat, Name: def.Name, Role: def.Role, Arch: runtime.GOARCH,
		KernelRelease: krn.Release, Initramfs: ramfs, Cmdline: def.KernelCmdline(), Init: def.Init,
		Loaders: map[string]images.Blob{},
	}
	if m.Kernel, err = b.putFile(krn.Image.Open); err != nil {
		return Built{}, fmt.Errorf("kernel %s: %w", krn.Release, err)
	}
	for name, data := range loaders {
		if m.Loaders[string(name)], err = b.cfg.Store.PutBytes(data); err != nil {
			return Built{}, err
		}
	}
	if m.Root, err = b.seal(ctx, def, tree); err != nil {
		return Built{}, err
	}
	d, err := b.cfg.Store.PutManifest(m)
	return Built{Digest: d, Manifest: m}, err
}

// seal stores a root.
func (b *Builder) seal(ctx context.Context, def *images.Definition, tree *rootfs.Tree) (images.Root, error) {
	var most int64 // bytes, before they are compressed
	root, err := rootfs.Build(ctx, tree, b.cfg.Epoch, b.cfg.Store, rootfs.SealOptions{
		Progress: func(done, total int64) {
			most = total
			b.progress(def, "seal", done, total, true)
		},
	})
	if err != nil {
		return images.Root{}, fmt.Errorf("seal the root: %w", full(err, b.cfg.Store.Dir(), most))
	}
	return root, nil
}

// checkInit finds out at build time what would otherwise be a kernel panic at boot time.
func checkInit(tree *rootfs.Tree, def *images.Definition) error {
	if def.Init == "" {
		return nil
	}
	n, err := tree.Resolve(strings.TrimPrefix(def.Init, "/"))
	if err != nil || !n.IsRegular() || n.Mode&0o111 == 0 {
		return &noInit{def.Init}
	}
	return nil
}

type noInit struct{ path string }

func (e *noInit) Error() string { return "the root has no program " + e.path + " to be its init" }

func (e *noInit) Try() string {
	return "install an init into the root (Debian: systemd-sysv), or name another with init: in the definition"
}

func (b *Builder) progress(def *images.Definition, stage string, done, total int64, bytes bool) {
	b.cfg.Progress(Progress{Image: def.Name, Stage: stage, Done: done, Total: total, Bytes: bytes})
}

func (b *Builder) note(def *images.Definition, stage, note string) {
	b.cfg.Progress(Progress{Image: def.Name, Stage: stage, Note: note})
}

// builderFormat changes whenever the same input is made into something else than before.
const builderFormat = 3

// inputKey is everything that decides what an image becomes.
type inputKey struct {
	Builder    int
	Definition *images.Definition
	Source     string
	Kernel     string
	Binary     images.Digest
	Loaders    map[string]images.Digest
	Epoch      int64
	Arch       string
}

func (b *Builder) keyFile(key inputKey) (string, error) {
	data, err := json.Marshal(key)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(b.cfg.Store.Dir(), "builds")
	return filepath.Join(dir, images.DigestOf(data).Hex()), os.MkdirAll(dir, 0o755)
}

// lookup finds an earlier build of the same input, if all of it is still in the store.
func (b *Builder) lookup(key inputKey) (Built, bool) {
	file, err := b.keyFile(key)
	if err != nil {
		return Built{}, false
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return Built{}, false
	}
	d, err := images.ParseDigest(string(data))
	if err != nil {
		return Built{}, false
	}
	m, err := b.cfg.Store.Manifest(d)
	if err != nil {
		return Built{}, false
	}
	for _, blob := range m.Blobs() {
		if !b.cfg.Store.Check(blob) {
			return Built{}, false
		}
	}
	return Built{Digest: d, Manifest: m, Reused: true}, true
}

func (b *Builder) remember(key inputKey, d images.Digest) error {
	file, err := b.keyFile(key)
	if err != nil {
		return err
	}
	return os.WriteFile(file, []byte(d), 0o644)
}

func digests(set loader.Set) map[string]images.Digest {
	all := make(map[string]images.Digest, len(set))
	for name, data := range set {
		all[string(name)] = images.DigestOf(data)
	}
	return all
}
