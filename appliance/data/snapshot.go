package data

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Beside the subvolume that is in use a volume has its snapshots, and at times the wish to go back to one.
const (
	snapshots    = "snapshots"
	rollbackFile = "rollback"
)

// snapshotEvery is how often it is looked whether snapshots are due.
const snapshotEvery = 20 * time.Second

// ErrNotHere is a volume that is not written to on this head: its file system is mounted elsewhere.
var ErrNotHere = errors.New("the volume is mounted on another head, or nowhere")

// mounted gives the volume where it is in use here, with snapshots.
func (s *Set) mounted(name string) (*volume, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.named(name)
	switch {
	case v == nil:
		return nil, fmt.Errorf("data %s: %w", name, ErrNoVolume)
	case v.filesystem() != Btrfs:
		return nil, refuse("masthead cluster edit", "volume %s has the file system %s, which has no snapshots", name, v.filesystem())
	case v.look.Copy.Role != primary:
		return nil, fmt.Errorf("data %s: %w", name, ErrNotHere)
	}
	if _, err := os.Stat(filepath.Join(root(name), live)); err != nil {
		return nil, fmt.Errorf("data %s: %w", name, ErrNotHere)
	}
	return v, nil
}

// Snapshots are those of a volume, oldest first.
func (s *Set) Snapshots(name string) ([]Snapshot, error) {
	if _, err := s.mounted(name); err != nil {
		return nil, err
	}
	return listSnapshots(root(name))
}

func listSnapshots(top string) (all []Snapshot, err error) {
	entries, err := os.ReadDir(filepath.Join(top, snapshots))
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

// Snapshot keeps the present state of a volume, read-only, and gives its name.
func (s *Set) Snapshot(ctx context.Context, name, kind string) (string, error) {
	if !nameForm.MatchString(kind) {
		return "", refuse("masthead snapshot create --name before-update", "%q: want lower-case letters, digits and -, 32 at most", kind)
	}
	if _, err := s.mounted(name); err != nil {
		return "", err
	}
	top := root(name)
	if err := os.MkdirAll(filepath.Join(top, snapshots), 0o700); err != nil {
		return "", fmt.Errorf("snapshot of %s: %w", name, err)
	}
	made := snapshotName(time.Now(), kind)
	_, err := s.cfg.Tools.Run(ctx, nil, "btrfs", "subvolume", "snapshot", "-r", filepath.Join(top, live), filepath.Join(top, snapshots, made))
	return made, err
}

// RemoveSnapshot removes one.
func (s *Set) RemoveSnapshot(ctx context.Context, name, snapshot string) error {
	path, err := s.snapshotPath(name, snapshot)
	if err == nil {
		_, err = s.cfg.Tools.Run(ctx, nil, "btrfs", "subvolume", "delete", path)
	}
	return err
}

func (s *Set) snapshotPath(name, snapshot string) (string, error) {
	all, err := s.Snapshots(name)
	if err != nil {
		return "", err
	}
	if !slices.ContainsFunc(all, func(one Snapshot) bool { return one.Name == snapshot }) {
		return "", refuse("masthead snapshot list", "volume %s has no snapshot %q", name, snapshot)
	}
	return filepath.Join(root(name), snapshots, snapshot), nil
}

// Rollback has a volume go back to a snapshot the next time that it is mounted. The wish lies on the volume: it is fulfilled
// also where another head has taken over meanwhile. What there is now becomes a snapshot.
func (s *Set) Rollback(name, snapshot string) error {
	if _, err := s.snapshotPath(name, snapshot); err != nil {
		return err
	}
	if err := writeSynced(filepath.Join(root(name), rollbackFile), snapshot+"\n"); err != nil {
		return fmt.Errorf("roll back %s: %w", name, err)
	}
	return nil
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
func (s *Set) rolledBack(ctx context.Context, v *volume) error {
	top := root(v.Name)
	text, err := os.ReadFile(filepath.Join(top, rollbackFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	want, base := strings.TrimSpace(string(text)), filepath.Join(top, live)
	from := filepath.Join(top, snapshots, want)
	if _, ok := parseSnapshot(want); !ok || !there(from) {
		s.cfg.Event(fmt.Sprintf("data %s: not rolled back: there is no snapshot %q", v.Name, want), true)
		return os.Remove(filepath.Join(top, rollbackFile))
	}
	next := base + ".next"
	if !there(next) {
		if _, err := s.cfg.Tools.Run(ctx, nil, "btrfs", "subvolume", "snapshot", from, next); err != nil {
			return err
		}
	}
	if there(base) {
		if err := os.Rename(base, filepath.Join(top, snapshots, snapshotName(time.Now(), KindRollback))); err != nil {
			return err
		}
	}
	if err := os.Rename(next, base); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(top, rollbackFile)); err != nil {
		return err
	}
	if err := s.sync(ctx, top); err != nil { // before somebody is told, and writes to it
		return err
	}
	s.cfg.Event(fmt.Sprintf("data %s: went back to the snapshot %s", v.Name, want), false)
	return nil
}

func there(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// schedule makes the snapshots that are due, and removes old ones, until ctx ends.
func (s *Set) schedule(ctx context.Context, v *volume) {
	tick := time.NewTicker(snapshotEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-v.resync:
			if _, err := s.Snapshot(ctx, v.Name, KindResync); err != nil && !errors.Is(err, ErrNotHere) && ctx.Err() == nil {
				s.cfg.Event(fmt.Sprintf("data %s: no snapshot before the resync: %v", v.Name, err), true)
			}
		case <-tick.C:
		}
		if err := s.scheduled(ctx, v); err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("snapshots", "volume", v.Name, "err", err) // tried again at the next tick
		}
	}
}

func (s *Set) scheduled(ctx context.Context, v *volume) error {
	have, err := s.Snapshots(v.Name)
	if err != nil {
		return nil // not in use here
	}
	due, remove := Plan(time.Now(), have, v.Volume.Snapshots)
	for _, kind := range due {
		if _, err := s.Snapshot(ctx, v.Name, kind); err != nil {
			return err
		}
	}
	for _, name := range remove {
		if err := s.RemoveSnapshot(ctx, v.Name, name); err != nil {
			return err
		}
	}
	return nil
}

// mostDifferences bounds an answer.
const mostDifferences = 1000

// Differences are the files that are not the same in a snapshot and now, and whether there are more.
func (s *Set) Differences(ctx context.Context, name, snapshot string) (all []Difference, more bool, err error) {
	path, err := s.snapshotPath(name, snapshot)
	if err != nil {
		return nil, false, err
	}
	all, err = differences(ctx, path, filepath.Join(root(name), live))
	return all[:min(len(all), mostDifferences)], len(all) > mostDifferences, err
}

// differences compares two trees by what the file system says of each file: its kind, size, times and owner.
func differences(ctx context.Context, before, after string) (all []Difference, err error) {
	walk := func(base, other string, both func(path string, a, b fs.FileInfo)) error {
		return filepath.WalkDir(base, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, _ := filepath.Rel(base, path)
			a, err := e.Info()
			if err != nil || ctx.Err() != nil {
				return errors.Join(err, ctx.Err())
			}
			b, err := os.Lstat(filepath.Join(other, rel))
			if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
				return err
			}
			if err != nil {
				b = nil
			}
			both("/"+rel, a, b)
			return nil
		})
	}
	err = walk(before, after, func(path string, a, b fs.FileInfo) {
		switch {
		case b == nil:
			all = append(all, Difference{"removed", path, a.Size()})
		case a.Mode() != b.Mode() || !a.IsDir() && (a.Size() != b.Size() || !a.ModTime().Equal(b.ModTime())):
			all = append(all, Difference{"changed", path, b.Size()})
		}
	})
	if err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	err = walk(after, before, func(path string, a, b fs.FileInfo) {
		if b == nil {
			all = append(all, Difference{"added", path, a.Size()})
		}
	})
	if err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	slices.SortStableFunc(all, func(a, b Difference) int { return strings.Compare(a.Path, b.Path) })
	return all, nil
}
