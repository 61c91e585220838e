package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"masthead/images"
	"masthead/node/agent"
	"masthead/node/rootdev"
	"masthead/node/rootdev/chunks"
	"masthead/node/stages"
	"masthead/node/wire"
)

// A soft reboot changes the root and keeps the kernel: systemd 254 and later ends everything, takes what is mounted at
// /run/nextroot as its root and starts again (systemd-soft-reboot.service(8)). That root needs what init gives every other
// one: a device, an overlay, the machine's own files. PrepareSoft makes them beside those that are in use, and Arrive,
// in the new root, puts them in their places and ends the old ones.
//
// The server of the new root is not killed, since its name begins with @, as systemd's page on root storage daemons has
// it, and its own root directory becomes the new one, as that of every process does at pivot_root(2).

// spotOfNext is that of the root that a soft reboot goes to.
var spotOfNext = spot{
	root: images.NextRoot, lower: images.NextDir + "/lower", overlay: images.NextDir + "/overlay", control: images.NextDir + "/rootd.sock",
	manifest: images.NextDir + "/manifest.json", node: images.NextDir + "/node.json", stages: images.NextDir + "/stages.json",
}

// nextDevice holds the device number of the file system at images.NextRoot. Who finds it at / has arrived.
const nextDevice = images.NextDir + "/device"

var errNoSystemd = errors.New("PID 1 is not systemd, which alone can restart without the kernel")

// PrepareSoft puts the root together that this machine is to run now, so that Restart with Soft goes to it. It returns
// what that is, for people. If a soft reboot is not possible nothing is left behind; nor is it after DropSoft.
func PrepareSoft(ctx context.Context, cfg agent.Config, log *slog.Logger) (string, error) {
	what, err := prepareSoft(ctx, cfg, log)
	if err != nil {
		return "", fmt.Errorf("soft reboot: %w", errors.Join(err, DropSoft(context.WithoutCancel(ctx))))
	}
	return what, nil
}

func prepareSoft(ctx context.Context, cfg agent.Config, log *slog.Logger) (string, error) {
	began := stages.Uptime()
	if err := softHere(cfg); err != nil {
		return "", err
	}
	in := &Init{log: log, mac: cfg.MAC, net: cfg.Net, uplink: cfg.Uplink, bootID: line("/proc/sys/kernel/random/uuid")}
	in.stages = &stages.Recorder{Uptime: func() time.Duration { return stages.Uptime() - began }}
	in.baked.SSHKeys = cfg.ImageKeys
	in.told()
	in.boot.Role, in.boot.CA = cfg.Role, cfg.CA
	if in.boot.Overlay != images.DefaultOverlay {
		return "", errors.New("the overlay is in compressed swap, which systemd ends")
	}

	in.stages.Begin(wire.StageHello)
	var err error
	if in.spec, in.head, err = askAgain(ctx, cfg); err != nil {
		return "", err
	}
	in.client = wire.NewClient(in.head, cfg.CA, in.spec.Token)
	defer in.client.Close()
	data, err := in.choose(ctx)
	if err != nil {
		return "", err
	}
	now, err := runningManifest()
	if err != nil {
		return "", err
	}
	if why := needsKernel(now, in.man); why != "" {
		return "", errors.New(why)
	}
	if why := noRoom(in.rootMode(), in.man.Root.Stored(), memoryMB("/proc")<<20, meminfoMB("/proc", "MemAvailable:")<<20); why != "" {
		return "", errors.New(why)
	}
	in.stages.End(in.spec.Name+" of "+in.head, nil, "")

	if err := DropSoft(ctx); err != nil { // of an earlier time that led nowhere
		return "", err
	}
	if err := os.MkdirAll(images.NextDir, 0o700); err != nil {
		return "", err
	}
	in.stages.Begin(wire.StageRoot)
	in.client = nil // this boot is unknown to the head until it says hello
	detail, err := in.attach(ctx, data, spotOfNext)
	if err != nil {
		return "", err
	}
	in.stages.End(detail, nil, "")
	in.stages.Begin(wire.StageHandover)
	if err := in.ready(spotOfNext, began); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s %s, kernel %s goes on", in.man.Name, in.image.Short(), in.man.KernelRelease), nil
}

// softHere says why this machine cannot restart softly, whatever the image is.
func softHere(cfg agent.Config) error {
	if !systemd() {
		return errNoSystemd
	}
	if cfg.Role == images.RoleHead || len(cfg.Spec.Heads) == 0 {
		return errors.New("a head runs what it booted from")
	}
	if _, err := os.Stat("/usr/lib/systemd/system/soft-reboot.target"); err != nil {
		return errors.New("its systemd cannot (version 254 and later can)")
	}
	return nil
}

// needsKernel says why a machine that runs one image needs another kernel, or another start of it, to run the next; empty:
// it does not.
func needsKernel(now, next images.Manifest) string {
	switch {
	case next.Init == "":
		return "the image has no init of its own"
	case now.Kernel.Digest != next.Kernel.Digest:
		return "the image has another kernel"
	case now.Initramfs.Digest != next.Initramfs.Digest:
		return "the image has another initramfs" // and with it another masthead
	case now.Cmdline != next.Cmdline:
		return "the image has another kernel command line"
	}
	return ""
}

// softSlack is what a second server of a root needs besides its cache, and what programs of the new root get before the
// old one is gone.
const softSlack = 64 << 20

// noRoom says why a second root does not fit into memory beside the first; empty: it does. All are bytes; stored is the
// size of the image's chunks.
func noRoom(mode images.RootMode, stored, memory, available int64) string {
	need := stored
	if mode != images.RootRAM {
		need = min(need, chunks.CacheBound(memory))
	}
	if need += softSlack; need <= available {
		return ""
	}
	return fmt.Sprintf("a second root takes up to %d MB of memory while both are there, and %d are free", need>>20, available>>20)
}

// ready furnishes the root at a spot and leaves word for Arrive and the agent.
func (in *Init) ready(at spot, began time.Duration) error {
	// systemd restarts into the root that it has if this one is no operating system to it.
	if _, err := os.Stat(filepath.Join(at.root, "usr/lib/os-release")); err != nil {
		return fmt.Errorf("the root has no os-release: %w", err)
	}
	if err := in.furnish(at.root, in.identity()); err != nil {
		return err
	}
	if err := in.linkBinary(at.root); err != nil {
		return err
	}
	in.stages.End(in.initPath(), nil, "")
	if err := in.stages.Save(at.stages); err != nil {
		return err
	}
	word := in.word()
	word.Began = began
	word.Spec.Token = "" // it is for the boot that ends: the agent says hello
	if err := word.Save(at.node); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(at.root, &st); err != nil {
		return err
	}
	return os.WriteFile(nextDevice, []byte(strconv.FormatUint(st.Dev, 10)), 0o600)
}

// DropSoft takes away what PrepareSoft made.
func DropSoft(ctx context.Context) error {
	if _, err := os.Stat(images.NextDir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, dir := range []string{spotOfNext.root, spotOfNext.lower, spotOfNext.overlay} {
		if err := leaveMount(dir); err != nil {
			return err
		}
	}
	if _, err := os.Stat(spotOfNext.control); err == nil {
		if err := rootdev.Dial(spotOfNext.control).Drop(ctx); err != nil && !rootdev.Gone(err) {
			return err
		}
	}
	return clearNext()
}

// clearNext removes images.NextDir. What is mounted there may be the layers of the root that runs: nothing below a mount is
// ever removed.
func clearNext() error {
	at := spotOfNext
	for _, dir := range []string{at.lower, at.overlay} {
		if err := leaveMount(dir); err != nil {
			return err
		}
	}
	for _, path := range []string{at.lower, at.overlay, at.control, at.manifest, at.node, at.stages, nextDevice, images.NextDir} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("soft reboot: %w", err)
		}
	}
	return nil
}

// leaveMount unmounts what is mounted at a folder, if anything is.
func leaveMount(dir string) error {
	err := unix.Unmount(dir, unix.MNT_DETACH)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %s: %w", dir, err)
	}
	return nil
}

// isMount reports whether a file system is mounted at a folder.
func isMount(dir string) bool {
	var at, above unix.Stat_t
	return unix.Stat(dir, &at) == nil && unix.Stat(filepath.Dir(dir), &above) == nil && at.Dev != above.Dev
}

// Arrive is called in a root before its agent starts. If a soft reboot has come here, it puts what belongs to this root
// where that of every root is, and ends the server of the one before. It may be called again at any point.
func Arrive(ctx context.Context, log *slog.Logger) error {
	note, err := os.ReadFile(nextDevice)
	if err != nil {
		return nil // the usual case
	}
	var st unix.Stat_t
	if err := unix.Stat("/", &st); err != nil {
		return fmt.Errorf("soft reboot: %w", err)
	}
	if string(note) != strconv.FormatUint(st.Dev, 10) {
		return nil // it is still to come, or was called off
	}
	if err := arrive(ctx, spotOfNext, spotOfBoot, log); err != nil {
		return fmt.Errorf("soft reboot: %w", err)
	}
	return clearNext()
}

func arrive(ctx context.Context, from, to spot, log *slog.Logger) error {
	if _, err := os.Stat(from.control); err == nil { // once: afterwards the new server answers at the other path
		for _, dir := range []string{to.lower, to.overlay} {
			if err := leaveMount(dir); err != nil {
				return err
			}
		}
		if err := rootdev.Dial(to.control).Drop(ctx); err != nil {
			log.Warn("the server of the root before", "err", err) // it holds some memory
		}
		if err := os.Rename(from.control, to.control); err != nil {
			return err
		}
	}
	// A mount below one that is shared, as systemd's /run is, cannot be moved. If systemd has unmounted it, the root goes
	// on having it.
	for _, dir := range [][2]string{{from.lower, to.lower}, {from.overlay, to.overlay}} {
		if !isMount(dir[0]) {
			continue
		}
		if err := unix.Mount(dir[0], dir[1], "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s at %s: %w", dir[0], dir[1], err)
		}
		if err := leaveMount(dir[0]); err != nil {
			return err
		}
	}
	for _, f := range [][2]string{{from.manifest, to.manifest}, {from.stages, to.stages}, {from.node, to.node}} {
		if err := os.Rename(f[0], f[1]); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
