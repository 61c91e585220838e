package data

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"masthead/images"
)

// Promote makes this head's copy of a volume the one that is written to, and makes its file system if it is new. It waits
// until that is so or ctx ends.
func (s *Set) Promote(ctx context.Context, name string) error {
	s.mu.Lock()
	v := s.named(name)
	s.mu.Unlock()
	if v == nil {
		return fmt.Errorf("data %s: %w", name, ErrNoVolume)
	}
	err := s.want(ctx, v, WantPrimary, func(c Copy) bool { return c.Role == primary })
	if err != nil {
		return err
	}
	return s.format(ctx, name)
}

// Demote makes it one that only follows. The file system is unmounted. It succeeds for what the kernel does not have: a volume that
// was never given to it, also where DRBD itself does not work on this head.
func (s *Set) Demote(ctx context.Context, name string) error {
	s.mu.Lock()
	v := s.any(name)
	s.mu.Unlock()
	if v == nil {
		return nil
	}
	return s.want(ctx, v, WantSecondary, func(c Copy) bool { return c.Role != primary })
}

// ErrEnded is the answer of a Set whose Run has ended.
var ErrEnded = errors.New("this program looks after the volumes no more")

// ErrNoVolume is a volume that is not configured.
var ErrNoVolume = errors.New("there is no such volume")

func (s *Set) want(ctx context.Context, v *volume, want Want, done func(Copy) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := v.Name
	if v.look.Want != want {
		v.look.Want, v.failed = want, -1
		s.tell()
	}
	// The kernel says that a copy is primary a moment before its device may be written to: the command is waited for too.
	for s.ended || !s.ready || v.busy || !done(v.look.Copy) {
		if want == WantSecondary && (s.ended || !s.ready) && !v.busy && !s.cfg.Tools.InKernel(v.minor) {
			return nil // nobody writes to a device that is not there
		}
		if s.ended { // what it has heard may be old
			return fmt.Errorf("data %s: %w", name, ErrEnded)
		}
		if v.look.Want != want {
			return fmt.Errorf("data %s: another is wanted now", name)
		}
		if err := s.wait(ctx); err != nil {
			why := v.trouble
			if why == "" {
				why = v.why
			}
			if why == "" {
				why = s.trouble
			}
			return fmt.Errorf("data %s: %w: %s", name, err, why)
		}
	}
	return nil
}

// ErrNotSaid is the answer as long as the kernel has not said how the copies stand: they have just been given to this Set.
var ErrNotSaid = errors.New("DRBD has not said yet how it stands")

// Primary reports whether a volume is written to here, and what is wrong with it. One that was never given to the kernel is not.
func (s *Set) Primary(name string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.any(name)
	if v == nil {
		return false, nil
	}
	if !s.ready {
		return false, fmt.Errorf("data %s: %w", name, ErrNotSaid)
	}
	return v.look.Copy.Role == primary, nil
}

// Mount is a file system of a volume, or a folder of it at its place.
type Mount struct {
	Device, Path, Type string
	Options            []string
}

// live is what of a volume is in use: a subvolume of btrfs, beside its snapshots, or a folder.
const live = "live"

// root is where a volume itself is mounted.
func root(volume string) string { return filepath.Join(images.RunDir, "data", volume) }

// inUse reports whether it is.
func inUse(volume string) bool { return there(filepath.Join(root(volume), live)) }

// Mounts are the mounts of a volume in their order: the volume, then its folders. Prepare is called after the first. A volume that is
// left has them too: whoever stops it has to unmount them.
func (s *Set) Mounts(name string) []Mount {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.any(name)
	if v == nil {
		return nil
	}
	options := v.Options
	if len(options) == 0 {
		options = []string{"noatime"}
	}
	all := []Mount{{device(v.minor), root(name), v.filesystem(), options}}
	for _, f := range v.Folders {
		all = append(all, Mount{filepath.Join(root(name), live, f), f, "none", []string{"bind"}})
	}
	return all
}

// format makes the file system of a volume that has none.
func (s *Set) format(ctx context.Context, name string) error {
	s.mu.Lock()
	v := s.named(name)
	device, want := device(v.minor), v.filesystem()
	s.mu.Unlock()
	type found struct {
		filesystem string
		blank      bool
	}
	is, err := bounded(ctx, 0, func() (found, error) {
		have, err := s.cfg.Tools.Filesystem(device)
		if err != nil || have != "" {
			return found{filesystem: have}, err
		}
		empty, err := s.cfg.Tools.Blank(device)
		return found{blank: empty}, err
	})
	switch {
	case err != nil:
		return fmt.Errorf("data %s: %w", name, err)
	case is.filesystem == want:
		return nil
	case is.filesystem != "":
		return fmt.Errorf("data %s: it has the file system %s, want %s", name, is.filesystem, want)
	case !is.blank:
		return fmt.Errorf("data %s: it holds something, and no file system that is known", name)
	}
	argv := []string{"mkfs.btrfs", "-q", "-L", name, device}
	if want == Ext4 {
		argv = []string{"mkfs.ext4", "-q", "-L", name, device}
	}
	if err := s.cfg.Tools.Long(ctx, argv...); err != nil {
		return fmt.Errorf("data %s: %w", name, err)
	}
	s.cfg.Event("data "+name+": made the file system "+want, false)
	return nil
}

// Prepare makes what the folders of a mounted volume need: each has a place on it, which begins with what the folder of this
// head holds.
func (s *Set) Prepare(ctx context.Context, name string) error {
	s.mu.Lock()
	v := s.named(name)
	s.mu.Unlock()
	if v == nil {
		return fmt.Errorf("data %s: %w", name, ErrNoVolume)
	}
	base := filepath.Join(root(name), live)
	if v.snapshotsBy() == Btrfs {
		if err := (subvolumes{s, v}).rolledBack(ctx); err != nil {
			return fmt.Errorf("data %s: go back to a snapshot: %w", name, err)
		}
	}
	if err := s.makeLive(ctx, v, base); err != nil {
		return fmt.Errorf("data %s: %w", name, err)
	}
	var made bool
	for _, f := range v.Folders {
		placed, err := s.place(ctx, name, f, filepath.Join(base, f))
		if err != nil {
			return fmt.Errorf("data %s: folder %s: %w", name, f, err)
		}
		made = made || placed
	}
	if made {
		if err := s.sync(ctx, base); err != nil {
			return fmt.Errorf("data %s: %w", name, err)
		}
	}
	return nil
}

func (s *Set) makeLive(ctx context.Context, v *volume, base string) error {
	if _, err := os.Stat(base); err == nil {
		return nil
	}
	if v.filesystem() == Btrfs {
		_, err := s.cfg.Tools.Run(ctx, nil, "btrfs", "subvolume", "create", base)
		return err
	}
	return os.MkdirAll(base, 0o755)
}

// place makes a folder's place, and reports whether it was not there. It is copied beside, written to the disks, and then
// renamed: neither half of a copy nor one of empty files, which a power cut leaves of what nobody has synced, is ever taken for
// it.
func (s *Set) place(ctx context.Context, volume, folder, to string) (made bool, err error) {
	if _, err := os.Stat(to); err == nil {
		return false, nil
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return false, err
	}
	if _, err := os.Stat(folder); err != nil {
		return true, os.MkdirAll(to, 0o755)
	}
	part := to + ".part"
	if err := os.RemoveAll(part); err != nil {
		return false, err
	}
	s.cfg.Event(fmt.Sprintf("data %s: begins with what this head has in %s", volume, folder), false)
	if err := s.cfg.Tools.Long(ctx, "cp", "-a", "--", folder, part); err != nil {
		return false, err
	}
	if err := s.sync(ctx, part); err != nil {
		return false, err
	}
	return true, os.Rename(part, to)
}

// sync writes the file system at path to the disks. It blocks while DRBD has its writes wait, and then ctx ends a program.
func (s *Set) sync(ctx context.Context, path string) error {
	return s.cfg.Tools.Long(ctx, "sync", "-f", path)
}
