package data

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// freezeTime is how long a file system stands still for its snapshot at most: its services wait for that long.
const freezeTime = 5 * time.Second

const (
	// thawAgain is the pause before it is tried again to have a file system go on.
	thawAgain = 200 * time.Millisecond
	// notFrozen and notThere are what fsfreeze says of a file system that does not stand still (FITHAW gives EINVAL), or of none.
	notFrozen = "unfreeze failed: Invalid argument"
	notThere  = "No such file or directory"
)

// shown is below where the snapshots of the volume are mounted while they are looked at.
func (t thin) shown() string { return filepath.Join(t.s.cfg.Dir, "shown", t.v.Name) }

func (t thin) run(ctx context.Context, device, program string, args ...string) error {
	_, err := t.s.cfg.Tools.Run(ctx, nil, lvm(device, program, args...)...)
	return err
}

func (t thin) list(ctx context.Context) ([]Snapshot, error) {
	_, g, err := t.whole(ctx)
	if err != nil {
		return nil, err
	}
	return t.v.snapshots(g), nil
}

// take makes a snapshot of a volume that is written to. Its file system stands still meanwhile, so that there is nothing to be
// repaired in what the snapshot has.
func (t thin) take(ctx context.Context, snapshot string) error {
	device, g, err := t.whole(ctx)
	if err != nil {
		return err
	}
	if why := g.pool().refuses(0); why != "" {
		return refuse("masthead snapshot rm", "no snapshot of %s: %s", t.v.Name, why)
	}
	if err := t.s.goesOn(t.v); err != nil {
		return err
	}
	return t.still(ctx, func() error {
		_, err := t.s.cfg.Tools.Run(ctx, nil, t.v.takes(device, g.Name, snapshot)...)
		return err
	})
}

// still does something while the file system stands still, for freezeTime at most: what takes longer sees it go on, as it
// would see it after a power cut.
func (t thin) still(ctx context.Context, do func() error) error {
	is, err := t.s.mounted(ctx, t.v.Name)
	if err != nil {
		return err
	}
	if !is {
		return do()
	}
	if _, err := t.s.cfg.Tools.Run(ctx, nil, "fsfreeze", "--freeze", root(t.v.Name)); err != nil {
		_ = t.thaw(ctx) // it may be frozen all the same, and is told so if it is not
		return err
	}
	done := make(chan error, 1)
	go func() { done <- do() }() // waited for below
	late := time.NewTimer(freezeTime)
	defer late.Stop()
	select {
	case err := <-done:
		return errors.Join(err, t.thaw(ctx))
	case <-late.C:
		err := t.thaw(ctx)
		return errors.Join(<-done, err)
	}
}

// thaw has the file system go on. Nothing else would, and its services wait: it is tried until it is so, also when there is no
// memory for a program, and though the one who asked has gone.
func (t thin) thaw(ctx context.Context) error {
	for told := false; ; told = true {
		_, err := t.s.cfg.Tools.Run(context.WithoutCancel(ctx), nil, "fsfreeze", "--unfreeze", root(t.v.Name))
		var none *missing
		switch {
		case err == nil, strings.Contains(err.Error(), notFrozen), strings.Contains(err.Error(), notThere):
			return nil
		case errors.As(err, &none), errors.Is(err, errStuck): // one that waits for the device thaws when that answers
			return err
		case !told:
			t.s.cfg.Event(fmt.Sprintf("data %s: its file system stands still, and does not go on yet: %v", t.v.Name, err), true)
		}
		time.Sleep(thawAgain)
	}
}

func (t thin) remove(ctx context.Context, snapshot string) error {
	device, err := t.device()
	if err != nil {
		return err
	}
	return t.run(ctx, device, "lvremove", "--yes", t.name()+"/"+t.v.kept(snapshot))
}

// open mounts a snapshot without writing to it: what its journal has is left there.
func (t thin) open(ctx context.Context, snapshot string) (path string, shut func() error, err error) {
	device, err := t.device()
	if err != nil {
		return "", nil, err
	}
	name := t.name() + "/" + t.v.kept(snapshot)
	if err := t.run(ctx, device, "lvchange", "--activate", "y", "--ignoreactivationskip", name); err != nil {
		return "", nil, err
	}
	undo := []func(ctx context.Context) error{func(ctx context.Context) error { return t.run(ctx, device, "lvchange", "--activate", "n", name) }}
	putAway := func() (err error) {
		for i := range undo {
			err = errors.Join(err, undo[len(undo)-1-i](context.WithoutCancel(ctx)))
		}
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, putAway())
		}
	}()
	if err := os.MkdirAll(t.shown(), 0o700); err != nil {
		return "", nil, fmt.Errorf("show a snapshot: %w", err)
	}
	at, err := os.MkdirTemp(t.shown(), snapshot+"-")
	if err != nil {
		return "", nil, fmt.Errorf("show a snapshot: %w", err)
	}
	undo = append(undo, func(context.Context) error { return os.Remove(at) })
	options := "ro,noload"
	if t.v.filesystem() == Btrfs {
		options = "ro,rescue=nologreplay"
	}
	_, err = t.s.cfg.Tools.Run(ctx, nil, "mount", "-t", t.v.filesystem(), "-o", options, logicalPath(t.name(), t.v.kept(snapshot)), at)
	if err != nil && t.v.filesystem() == Btrfs {
		err = fmt.Errorf("%w: two states of one btrfs can be mounted at a time from Linux 6.7 on", err)
	}
	if err != nil {
		return "", nil, err
	}
	undo = append(undo, func(ctx context.Context) error {
		_, err := t.s.cfg.Tools.Run(ctx, nil, "umount", at)
		return err
	})
	return filepath.Join(at, live), putAway, nil
}

// releaseMetadata gives up the state of the pool's metadata that sizes has kept. While there is one, the pool gets nothing back of
// what is removed (dm-thin-metadata.c, __reserve_metadata_snap: it refers to all that was mapped then).
const releaseMetadata = "release_metadata_snap"

// message tells the pool something.
func (t thin) message(ctx context.Context, text string) error {
	_, err := t.s.cfg.Tools.Run(ctx, nil, "dmsetup", "message", mapped(t.name(), poolName, "-tpool"), "0", text)
	return err
}

// sizes asks the pool's metadata what of it only one volume has. LVM itself does not know that.
func (t thin) sizes(ctx context.Context) (map[string]int64, error) {
	_, g, err := t.whole(ctx)
	if err != nil {
		return nil, err
	}
	_ = t.message(ctx, releaseMetadata) // of one who was killed; there is one at a time
	if err := t.message(ctx, "reserve_metadata_snap"); err != nil {
		return nil, err
	}
	out, err := t.s.cfg.Tools.Run(ctx, nil, "thin_ls", "--metadata-snap", "--no-headers", "--format", "DEV,EXCLUSIVE_BYTES", "/dev/mapper/"+mapped(g.Name, poolName, "_tmeta"))
	if err = errors.Join(err, t.message(context.WithoutCancel(ctx), releaseMetadata)); err != nil {
		return nil, err
	}
	own := parseExclusive(out)
	all := map[string]int64{}
	for _, one := range t.v.snapshots(g) {
		if size, ok := own[g.named(t.v.kept(one.Name)).ID]; ok {
			all[one.Name] = size
		}
	}
	return all, nil
}

// parseExclusive reads lines of a thin device's number and its bytes.
func parseExclusive(out string) map[int]int64 {
	all := map[int]int64{}
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) != 2 {
			continue
		}
		id, err := strconv.Atoi(f[0])
		size, err2 := strconv.ParseInt(f[1], 10, 64)
		if err == nil && err2 == nil && size >= 0 {
			all[id] = size
		}
	}
	return all
}

// tidy undoes what a daemon that was killed has left: a file system that stands still, a volume whose I/O waits, a snapshot that
// somebody looked at.
func (t thin) tidy(ctx context.Context) {
	looks, cancel := context.WithTimeout(ctx, toolTime)
	defer cancel()
	if is, err := t.s.mounted(looks, t.v.Name); is || err != nil {
		if err := t.thaw(ctx); err != nil {
			t.s.cfg.Log.Warn("file system that stands still", "volume", t.v.Name, "err", err)
		}
	}
	left, _ := filepath.Glob(filepath.Join(t.shown(), "*")) // the pattern is a good one
	for _, at := range left {
		_, _ = t.s.cfg.Tools.Run(ctx, nil, "umount", at)
		if err := os.Remove(at); err != nil {
			t.s.cfg.Log.Warn("snapshot that is shown", "path", at, "err", err)
		}
	}
	device, g, err := t.group(ctx)
	if err == nil && g != nil && g.Name == t.name() && slices.Contains(g.Tags, groupTag) { // another's may have such names too
		for _, argv := range t.v.leftovers(device, g) {
			if _, err := t.s.cfg.Tools.Run(ctx, nil, argv...); err != nil {
				t.s.cfg.Log.Warn("logical volume that was left", "volume", t.v.Name, "err", err)
			}
		}
		if g.named(poolName) != nil {
			_ = t.message(ctx, releaseMetadata) // refused where there is none
		}
	}
}
