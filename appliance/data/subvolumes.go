package data

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Beside the subvolume that is in use a volume has its snapshots, and at times the wish to go back to one.
const (
	snapshots    = "snapshots"
	rollbackFile = "rollback"
)

// subvolumes are the states of a volume with btrfs. They lie on the volume itself, so that each copy has them.
type subvolumes struct {
	s *Set
	v *volume
}

func (b subvolumes) top() string { return root(b.v.Name) }

func (b subvolumes) path(snapshot string) string { return filepath.Join(b.top(), snapshots, snapshot) }

func (b subvolumes) list(context.Context) (all []Snapshot, err error) {
	entries, err := os.ReadDir(filepath.Join(b.top(), snapshots))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	for _, e := range entries { // in the order of their names, which is that of their times
		if one, ok := parseSnapshot(e.Name()); ok {
			all = append(all, one)
		}
	}
	return all, nil
}

// sizes are not known: btrfs counts them only with quotas, which cost more than they tell.
func (subvolumes) sizes(context.Context) (map[string]int64, error) { return nil, nil }

func (b subvolumes) take(ctx context.Context, snapshot string) error {
	if err := b.s.goesOn(b.v); err != nil { // btrfs would write, and a program that waits for DRBD cannot be ended
		return err
	}
	if err := os.MkdirAll(filepath.Join(b.top(), snapshots), 0o700); err != nil {
		return fmt.Errorf("snapshot of %s: %w", b.v.Name, err)
	}
	_, err := b.s.cfg.Tools.Run(ctx, nil, "btrfs", "subvolume", "snapshot", "-r", filepath.Join(b.top(), live), b.path(snapshot))
	return err
}

func (b subvolumes) remove(ctx context.Context, snapshot string) error {
	_, err := b.s.cfg.Tools.Run(ctx, nil, "btrfs", "subvolume", "delete", b.path(snapshot))
	return err
}

func (b subvolumes) open(_ context.Context, snapshot string) (string, func() error, error) {
	return b.path(snapshot), func() error { return nil }, nil
}

// wish lies on the volume: it is fulfilled also where another head has taken over meanwhile.
func (b subvolumes) wish(_ context.Context, snapshot string) error {
	if err := writeSynced(filepath.Join(b.top(), rollbackFile), snapshot+"\n"); err != nil {
		return fmt.Errorf("roll back %s: %w", b.v.Name, err)
	}
	return nil
}

func (b subvolumes) wished() string {
	text, _ := os.ReadFile(filepath.Join(b.top(), rollbackFile)) // on a volume that cannot be read nothing is removed either
	return strings.TrimSpace(string(text))
}

func writeSynced(path, text string) error {
	f, err := os.OpenFile(path+".part", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".part", path)
}

// rolledBack fulfils the wish to go back. Power may fail between any two of its steps: the next mount goes on.
func (b subvolumes) rolledBack(ctx context.Context) error {
	text, err := os.ReadFile(filepath.Join(b.top(), rollbackFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	want, base := strings.TrimSpace(string(text)), filepath.Join(b.top(), live)
	from := b.path(want)
	if _, ok := parseSnapshot(want); !ok || !there(from) {
		b.s.cfg.Event(fmt.Sprintf("data %s: not rolled back: there is no snapshot %q", b.v.Name, want), true)
		return os.Remove(filepath.Join(b.top(), rollbackFile))
	}
	next := base + ".next"
	if !there(next) {
		if _, err := b.s.cfg.Tools.Run(ctx, nil, "btrfs", "subvolume", "snapshot", from, next); err != nil {
			return err
		}
	}
	if there(base) {
		if err := os.Rename(base, b.path(snapshotName(time.Now(), KindRollback))); err != nil {
			return err
		}
	}
	if err := os.Rename(next, base); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(b.top(), rollbackFile)); err != nil {
		return err
	}
	if err := b.s.sync(ctx, b.top()); err != nil { // before somebody is told, and writes to it
		return err
	}
	b.s.cfg.Event(fmt.Sprintf("data %s: went back to the snapshot %s", b.v.Name, want), false)
	return nil
}

func there(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
