package data

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// snapshotEvery is how often it is looked whether snapshots are due.
const snapshotEvery = 20 * time.Second

// ErrNotHere is a volume that is not written to on this head: its file system is mounted elsewhere.
var ErrNotHere = errors.New("the volume is mounted on another head, or nowhere")

// keeper keeps the states of one volume that is in use: subvolumes, or thin.
type keeper interface {
	// list gives the snapshots, oldest first.
	list(ctx context.Context) ([]Snapshot, error)
	// sizes are how many bytes each has for itself; one that is not there: nobody knows.
	sizes(ctx context.Context) (map[string]int64, error)
	take(ctx context.Context, snapshot string) error
	remove(ctx context.Context, snapshot string) error
	// wish has the volume go back the next time that it is promoted and mounted. What there is now becomes a snapshot.
	wish(ctx context.Context, snapshot string) error
	// wished is the snapshot that it is to go back to; empty: none.
	wished() string
	// open shows the files of a snapshot until shut is called.
	open(ctx context.Context, snapshot string) (path string, shut func() error, err error)
}

// mounted reports whether a volume is mounted here. It blocks for as long as its device does not answer and ctx lasts: not with
// mu held.
func (s *Set) mounted(ctx context.Context, name string) (bool, error) {
	return bounded(ctx, 0, func() (bool, error) { return s.cfg.Tools.InUse(name), nil })
}

// kept gives what keeps the states of a volume, where it is in use here.
func (s *Set) kept(ctx context.Context, name string) (keeper, error) {
	s.mu.Lock()
	v := s.named(name)
	writes := v != nil && v.look.Copy.Role == primary
	s.mu.Unlock()
	switch {
	case v == nil:
		return nil, fmt.Errorf("data %s: %w", name, ErrNoVolume)
	case v.snapshotsBy() == "":
		return nil, refuse("masthead cluster edit", "volume %s has the file system %s, which has no snapshots, and no snapshots_by: lvm", name, v.filesystem())
	case !writes:
		return nil, fmt.Errorf("data %s: %w", name, ErrNotHere)
	}
	is, err := s.mounted(ctx, name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("data %s: %w", name, err)
	case !is:
		return nil, fmt.Errorf("data %s: %w", name, ErrNotHere)
	case v.snapshotsBy() == LVM:
		return thin{s, v}, nil
	}
	return subvolumes{s, v}, nil
}

// Snapshots are those of a volume, oldest first.
func (s *Set) Snapshots(ctx context.Context, name string) ([]Snapshot, error) {
	k, err := s.kept(ctx, name)
	if err != nil {
		return nil, err
	}
	return k.list(ctx)
}

// SnapshotSizes are how many bytes each of them has for itself, as far as that is known.
func (s *Set) SnapshotSizes(ctx context.Context, name string) map[string]int64 {
	k, err := s.kept(ctx, name)
	var all map[string]int64
	if err == nil {
		all, err = k.sizes(ctx)
	}
	if err != nil {
		s.cfg.Log.Warn("sizes of snapshots", "volume", name, "err", err) // they are listed all the same
	}
	return all
}

// Snapshot keeps the present state of a volume, read-only, and gives its name.
func (s *Set) Snapshot(ctx context.Context, name, kind string) (string, error) {
	if !nameForm.MatchString(kind) {
		return "", refuse("masthead snapshot create --name before-update", "%q: want lower-case letters, digits and -, 32 at most", kind)
	}
	k, err := s.kept(ctx, name)
	if err != nil {
		return "", err
	}
	made := snapshotName(time.Now(), kind)
	return made, k.take(ctx, made)
}

// goesOn is the refusal of a snapshot while all I/O of a volume waits; nil: it does not.
func (s *Set) goesOn(v *volume) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.look.Copy.Frozen() {
		return refuse("masthead status --why", "no snapshot of %s: its writes wait for leave to go on without the other copy", v.Name)
	}
	return nil
}

// known gives what keeps the states of a volume that has this snapshot.
func (s *Set) known(ctx context.Context, name, snapshot string) (keeper, error) {
	k, err := s.kept(ctx, name)
	if err != nil {
		return nil, err
	}
	all, err := k.list(ctx)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(all, func(one Snapshot) bool { return one.Name == snapshot }) {
		return nil, refuse("masthead snapshot list", "volume %s has no snapshot %q", name, snapshot)
	}
	return k, nil
}

// RemoveSnapshot removes one.
func (s *Set) RemoveSnapshot(ctx context.Context, name, snapshot string) error {
	k, err := s.known(ctx, name, snapshot)
	if err != nil {
		return err
	}
	s.mu.Lock()
	v := s.named(name)
	s.mu.Unlock()
	if why := s.stays(k, v, snapshot); why != "" {
		return refuse("masthead snapshot list", "the snapshot %s is not removed: %s", snapshot, why)
	}
	return k.remove(ctx, snapshot)
}

// stays is why a snapshot is not removed now; empty: it may be.
func (s *Set) stays(k keeper, v *volume, snapshot string) string {
	if k.wished() == snapshot {
		return "the volume is to go back to it"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.shown[snapshot] > 0 {
		return "somebody looks at it"
	}
	return ""
}

// Rollback has a volume go back to a snapshot the next time that its service is started. What there is now becomes a snapshot.
func (s *Set) Rollback(ctx context.Context, name, snapshot string) error {
	k, err := s.known(ctx, name, snapshot)
	if err != nil {
		return err
	}
	return k.wish(ctx, snapshot)
}

// RollbackMakesAnew reports whether the other copy is made anew when a volume goes back.
func (s *Set) RollbackMakesAnew(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.named(name)
	return v != nil && v.snapshotsBy() == LVM && len(s.cfg.Hosts) > 1
}

// schedule makes the snapshots that are due, and removes old ones, until ctx ends.
func (s *Set) schedule(ctx context.Context, v *volume) {
	pause := snapshotEvery
	if v.snapshotsBy() == LVM {
		thin{s, v}.tidy(ctx)
	}
	for {
		late := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			late.Stop()
			return
		case <-v.resync:
			if _, err := s.Snapshot(ctx, v.Name, KindResync); err != nil && !errors.Is(err, ErrNotHere) && ctx.Err() == nil {
				s.cfg.Event(fmt.Sprintf("data %s: no snapshot before the resync: %v", v.Name, err), true)
			}
		case <-late.C:
		}
		late.Stop()
		if v.snapshotsBy() == LVM {
			pause = thin{s, v}.watch(ctx)
		}
		if err := s.scheduled(ctx, v); err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("snapshots", "volume", v.Name, "err", err) // tried again at the next tick
		}
	}
}

func (s *Set) scheduled(ctx context.Context, v *volume) error {
	if s.goesOn(v) != nil {
		return nil // even to list them may wait; it is looked again soon
	}
	k, err := s.kept(ctx, v.Name)
	if errors.Is(err, ErrNotHere) {
		return nil
	} else if err != nil {
		return err
	}
	have, err := k.list(ctx)
	if err != nil {
		return err
	}
	var made []string
	var failed error
	for _, kind := range due(time.Now(), have, v.Volume.Snapshots) {
		if _, err := s.Snapshot(ctx, v.Name, kind); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		made = append(made, kind)
	}
	for _, name := range surplus(have, v.Volume.Snapshots, made) {
		if s.stays(k, v, name) == "" {
			failed = errors.Join(failed, k.remove(ctx, name))
		}
	}
	return failed
}
